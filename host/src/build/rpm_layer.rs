//! The package layer of an image of the RPM family: everything that rpm installs, in one transaction in one session.
//!
//! rpm orders scripts, triggers and file triggers over the whole transaction, so there is no layer between nothing and all packages
//! as there is for packages of the Debian family. How large the filesystems are is known when rpm has ended and not before.

use std::path::Path;

use oic_config::units::ByteSize;
use oic_protocol::RpmInstall;
use serde_json::json;

use super::{
    BuildError,
    fingerprint::Inputs,
    layers::{Layers, epoch_time},
    root,
};
use crate::{
    compose,
    rootfs::{RootTree, rpm::Rpm, tree::Metadata},
};

/// What the layer is made of.
pub(super) struct RpmLayer {
    install: RpmInstall,
    pub(super) inputs: Inputs,
}

impl Layers<'_> {
    /// Collects what the layer is made of.
    pub(super) fn rpm_layer(&self, rpms: &[Rpm]) -> Result<RpmLayer, BuildError> {
        let mut inputs = Inputs::default();
        for name in ["oic", "tools"] {
            inputs.add(name, &json!(self.inputs.part(name)));
        }
        inputs.add("architecture", &json!(self.spec.target.arch));
        inputs.add("time", &json!(self.epoch));
        for (package, _) in &self.packages.locked {
            inputs.add(&format!("package {} of {}", package.name, package.arch), &json!(package.sha256));
        }
        let system = &self.spec.system;
        inputs.add("documentation and languages", &json!([system.package_docs, system.package_languages]));
        Ok(RpmLayer { install: root::rpm_install(&self.host.store, &self.packages.locked, rpms, system)?, inputs })
    }

    /// Returns the root filesystem with all packages installed.
    pub(super) fn rpm_packages(
        &self,
        layer: &RpmLayer,
        check: impl Fn(&RootTree) -> Result<(), BuildError>,
    ) -> Result<RootTree, BuildError> {
        let tree = self.obtain("package layer", &layer.inputs, "the same packages", || {
            let installer = self.installer.ok_or(BuildError::Internal("nothing in the lock installs packages"))?;
            let tools = root::tools_disk(&self.host.store, &self.toolchain.disk.ext4, installer)?;
            self.install_rpms(layer, &tools)
        })?;
        check(&tree)?;
        Ok(tree)
    }

    /// Has the guest install the packages on an empty disk. Returns the tree before and after.
    fn install_rpms(&self, layer: &RpmLayer, tools: &Path) -> Result<(RootTree, RootTree), BuildError> {
        let tree = RootTree::new(Metadata::root_owned(0o755, epoch_time(self.epoch)));
        let size: ByteSize = self.disk_size(&self.packages.locked);
        let made = self.session(&tree, (size, Some(tools)), compose::lower_rpm_install(layer.install.clone(), self.epoch))?;
        Ok((tree, made))
    }
}
