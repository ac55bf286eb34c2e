//! The peers: mmdebstrap as native root, and debos in its own virtual machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// What the Debian 13 tree for debos needs besides debos: the host that its virtual machine is made from.
const DEBOS_HOST: &str = "debos,qemu-system-x86,linux-image-amd64,busybox-static,systemd,systemd-resolved,dbus,ca-certificates,e2fsprogs,parted,\
                          dosfstools,debian-archive-keyring,mmdebstrap,udev,kmod,zstd";
/// The keyring that apt trusts on a Debian machine.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Runs a peer once.
type Peer = fn(&Peers) -> Result<()>;

/// Peers, ready to run.
pub(super) struct Peers {
    folder: PathBuf,
    /// Every package of the image that `oic` has built.
    packages: Vec<String>,
    mirror: String,
}

impl Peers {
    /// Makes the peers ready to make an image of the same packages as `output` has.
    pub(super) fn prepare(folder: &Path, output: &Path) -> Result<Self> {
        let id = Command::new("id").arg("-u").output()?;
        ensure!(id.stdout == b"0\n", "the peers need root");
        let list = fs::read_to_string(output.join("packages.txt"))?;
        let packages = list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        let peers = Self { folder: folder.to_owned(), packages, mirror: mirror()? };
        if !peers.debos_tree().join("usr/bin/debos").exists() {
            println!("making a Debian 13 tree for debos");
            let _ = fs::remove_dir_all(peers.debos_tree());
            peers.mmdebstrap(&["--variant=minbase", &format!("--include={DEBOS_HOST}")], &peers.debos_tree())?;
        }
        peers.write_recipe()?;
        Ok(peers)
    }

    /// Returns the peers by name.
    pub(super) fn commands() -> [(&'static str, Peer); 2] {
        [("mmdebstrap as native root, to a tarball", Self::run_mmdebstrap), ("debos in its VM (TCG, one CPU)", Self::run_debos)]
    }

    fn debos_tree(&self) -> PathBuf {
        self.folder.join("debos-host")
    }

    fn run_mmdebstrap(&self) -> Result<()> {
        let include = format!("--include={}", self.packages.join(","));
        self.mmdebstrap(&["--variant=custom", &include], &self.folder.join("mmdebstrap.tar"))
    }

    fn mmdebstrap(&self, options: &[&str], target: &Path) -> Result<()> {
        // The suites that `oic` takes packages from, too: the newest kernel is in one of the last two.
        let suites = [(&self.mirror, "", "trixie"), (&self.mirror, "", "trixie-updates"), (&self.mirror, "-security", "trixie-security")];
        let sources = suites.map(|(mirror, archive, suite)| format!("deb [signed-by={KEYRING}] {mirror}{archive} {suite} main"));
        let mut command = Command::new("mmdebstrap");
        command.args(["--mode=root", "--quiet"]).args(options).arg("trixie").arg(target).args(sources);
        finish(&mut command)
    }

    /// Writes a recipe for the same kind of image: the same packages, an ESP and a root filesystem.
    fn write_recipe(&self) -> Result<()> {
        let recipe = format!(
            "architecture: amd64\nactions:\n\
             - {{action: debootstrap, suite: trixie, components: [main], mirror: \"{}\", variant: minbase}}\n\
             - {{action: apt, recommends: false, packages: [{}]}}\n\
             - action: image-partition\n  imagename: image.img\n  imagesize: 2GB\n  partitiontype: gpt\n  mountpoints:\n  \
             - {{mountpoint: /, partition: root}}\n  - {{mountpoint: /boot/efi, partition: EFI}}\n  partitions:\n  \
             - {{name: EFI, fs: fat32, start: 1MB, end: 256MB, flags: [boot]}}\n  - {{name: root, fs: ext4, start: 256MB, end: 100%}}\n\
             - {{action: filesystem-deploy}}\n",
            self.mirror,
            self.packages.join(", ")
        );
        let folder = self.debos_tree().join("recipe");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("image.yaml"), recipe)?;
        Ok(())
    }

    /// Runs debos in its tree. With more than one CPU its guest stalls under emulation.
    fn run_debos(&self) -> Result<()> {
        let script = "set -e\nmount -t proc proc $0/proc\nmount -t sysfs sysfs $0/sys\nmount --rbind /dev $0/dev\n\
                      rm -f $0/etc/resolv.conf $0/recipe/image.img\ncp -L /etc/resolv.conf $0/etc/resolv.conf\n\
                      exec chroot $0 sh -c 'cd /recipe && exec debos --fakemachine-backend qemu --cpus 1 --memory 2GB --scratchsize 8GB image.yaml'";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(self.debos_tree());
        finish(&mut command)
    }
}

/// Runs a peer, its output out of the way unless it fails.
fn finish(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let tail = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().rev().take(20).collect::<Vec<_>>().join("\n");
    ensure!(output.status.success(), "{command:?} ended with {}:\n{}\n{}", output.status, tail(&output.stdout), tail(&output.stderr));
    Ok(())
}

/// Returns the Debian mirror that this machine's apt uses.
fn mirror() -> Result<String> {
    let policy = Command::new("apt-get").args(["indextargets", "--format", "$(SITE) $(REPO_URI)", "Created-By: Packages"]).output()?;
    let text = String::from_utf8(policy.stdout)?;
    let uri = text.lines().filter_map(|line| line.split_whitespace().nth(1)).find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    Ok(uri.context("apt here uses no Debian mirror")?.trim_end_matches('/').to_owned())
}
