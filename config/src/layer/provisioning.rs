//! `systemConfig`: what the system sets up by itself once it runs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Keyed, Located, Text};

/// Proxy servers that the system reaches the network by.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxy {
    /// Server for http, `http://proxy.example.com:3128`.
    pub http_proxy: Option<Located<Text>>,
    /// Server for https.
    pub https_proxy: Option<Located<Text>>,
    /// Server for ftp.
    pub ftp_proxy: Option<Located<Text>>,
    /// Hosts, domains and networks that are reached without one, separated by commas.
    pub no_proxy: Option<Located<Text>>,
}

/// Scripts that run when the system starts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provisioning {
    /// The scripts.
    pub scripts: Option<Keyed<ProvisioningScript>>,
}

/// One script that runs when the system starts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvisioningScript {
    /// What its unit is called: letters, digits, `_`, `.` and `-`.
    #[schemars(required)]
    pub name: Option<Located<Text>>,
    /// File on this machine, relative to the template.
    #[schemars(required)]
    pub local: Option<Located<String>>,
    /// Absolute path in the image.
    #[serde(rename = "final")]
    #[schemars(required)]
    pub destination: Option<Located<String>>,
    /// When it runs; default: at the first boot.
    pub stage: Option<Located<ProvisioningStage>>,
    /// Its place: lower numbers run first; default: 0.
    pub order: Option<Located<u32>>,
}

/// When a provisioning script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProvisioningStage {
    /// At the first boot, and at the next one again if it failed.
    FirstBoot,
    /// At every boot.
    EveryBoot,
}

/// cloud-init, and the data that it finds in the image.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudInit {
    /// Whether it is installed and configured.
    pub enabled: Option<Located<bool>>,
    /// Its user-data, a file on this machine.
    pub user_data_file: Option<Located<String>>,
    /// Its meta-data; default: a name for this image.
    pub meta_data_file: Option<Located<String>>,
    /// Its network-config.
    pub network_config_file: Option<Located<String>>,
    /// Files for `/etc/cloud/cloud.cfg.d`.
    pub config_files: Option<Vec<Located<String>>>,
}

/// Which repositories of the template may upgrade packages of the running system.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AptPolicy {
    /// Their codenames; an empty list: all of them.
    pub upgrade_allowed_repos: Option<Vec<Located<Text>>>,
}

/// Kernel modules that are compiled for the image's kernels.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dkms {
    /// Whether they are.
    #[schemars(required)]
    pub enabled: Option<Located<bool>>,
    /// Modules that must be there afterwards, `name/version`; default: any one.
    pub modules: Option<Vec<Located<Text>>>,
    /// Signatures for Secure Boot.
    pub secure_boot: Option<Located<DkmsSecureBoot>>,
}

/// Signatures of compiled modules.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DkmsSecureBoot {
    /// Whether modules are signed.
    #[schemars(required)]
    pub enabled: Option<Located<bool>>,
    /// Private key.
    pub signing_key_path: Option<Located<String>>,
    /// Its certificate.
    pub signing_cert_path: Option<Located<String>>,
    /// Whether the image gets both.
    pub retain_signing_identity: Option<Located<bool>>,
    /// Where the image has the key.
    pub target_key_path: Option<Located<String>>,
    /// Where the image has the certificate.
    pub target_cert_path: Option<Located<String>>,
}

/// A finished image that an installer writes to the disk.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallerPayload {
    /// Whether it does.
    pub enabled: Option<Located<bool>>,
    /// How the image is compressed.
    pub compression: Option<Located<Text>>,
}
