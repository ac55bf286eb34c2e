//! The peers: mmdebstrap as native root, mkosi as native root, debos in its own virtual machine, apt's solver. All from Debian's
//! packages; mkosi and debos are those of Debian 13 and run in a tree of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Run,
    lab::{Build, Lab, remove_tree, timed},
};

/// What this machine must have; installed when it lacks.
const HOST_PACKAGES: [(&str, &str); 3] =
    [("mmdebstrap", "/usr/bin/mmdebstrap"), ("e2fsprogs", "/usr/sbin/mke2fs"), ("qemu-utils", "/usr/bin/qemu-img")];
/// What the Debian 13 tree has: debos, mkosi, and what they start.
const TREE_PACKAGES: &str = "apt,bubblewrap,busybox-static,ca-certificates,dbus,debian-archive-keyring,debos,dosfstools,e2fsprogs,kmod,\
                             linux-image-amd64,mkosi,mmdebstrap,mtools,parted,qemu-system-x86,qemu-user-static,systemd,systemd-boot,systemd-repart,\
                             systemd-resolved,systemd-ukify,udev,zstd";
/// The keyring that apt trusts on a Debian machine.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Peers, ready to run.
pub(super) struct Peers<'a> {
    lab: &'a Lab,
    mirror: String,
}

impl<'a> Peers<'a> {
    /// Makes sure that the peers are there.
    pub(super) fn of(lab: &'a Lab) -> Result<Self> {
        let id = Command::new("id").arg("-u").output()?;
        ensure!(id.stdout == b"0\n", "the peers need root");
        install_missing(&HOST_PACKAGES)?;
        Ok(Self { lab, mirror: mirror()? })
    }

    /// Makes an image of the packages of a build of ours: a tree, then a filesystem of it.
    pub(super) fn mmdebstrap(&self, suite: &str, build: Build<'_>) -> Result<Run> {
        let packages = self.packages(build)?;
        let tree = self.lab.folder.join("mmdebstrap");
        remove_tree(&tree)?;
        let tree_made = self.run_mmdebstrap(suite, &["--variant=custom", &format!("--include={}", packages.join(","))], &tree)?;
        with_filesystem(&tree_made, &tree)
    }

    fn run_mmdebstrap(&self, suite: &str, options: &[&str], target: &Path) -> Result<Run> {
        // The suites that `oic` takes packages from, too: the newest kernel is in one of the last two.
        let suites = [("", suite.to_owned()), ("", format!("{suite}-updates")), ("-security", format!("{suite}-security"))];
        let sources = suites.map(|(archive, suite)| format!("deb [signed-by={KEYRING}] {}{archive} {suite} main", self.mirror));
        let mut command = Command::new("mmdebstrap");
        command.args(["--mode=root", "--quiet"]).args(options).arg(suite).arg(target).args(sources);
        timed(&mut command)
    }

    /// Makes a bootable image with mkosi.
    pub(super) fn mkosi(&self, build: Build<'_>) -> Result<Run> {
        let packages = self.packages_of_one_mirror(build)?;
        let folder = self.tree()?.join("mkosi");
        remove_tree(&folder)?;
        fs::create_dir_all(&folder)?;
        let lines = |names: &[String]| names.iter().map(|name| format!("         {name}\n")).collect::<String>();
        let config = format!(
            "[Distribution]\nDistribution=debian\nRelease=trixie\nLocalMirror={}\n\n[Output]\nFormat=disk\nOutputDirectory=/mkosi/out\n\n\
             [Content]\nBootable=yes\nBootloader=systemd-boot\nPackages=\n{}",
            self.mirror,
            lines(&packages)
        );
        fs::write(folder.join("mkosi.conf"), config)?;
        self.in_tree("cd /mkosi && exec mkosi --force build")
    }

    /// Makes an image with debos: the same packages, an ESP and a root filesystem. With more than one CPU its guest stalls under
    /// emulation.
    pub(super) fn debos(&self, suite: &str, arch: &str, build: Build<'_>) -> Result<Run> {
        let recipe = format!(
            "architecture: {arch}\nactions:\n\
             - {{action: debootstrap, suite: {suite}, components: [main], mirror: \"{}\", variant: minbase}}\n\
             - {{action: apt, recommends: false, packages: [{}]}}\n\
             - action: image-partition\n  imagename: image.img\n  imagesize: 2GB\n  partitiontype: gpt\n  mountpoints:\n  \
             - {{mountpoint: /, partition: root}}\n  - {{mountpoint: /boot/efi, partition: EFI}}\n  partitions:\n  \
             - {{name: EFI, fs: fat32, start: 1MB, end: 256MB, flags: [boot]}}\n  - {{name: root, fs: ext4, start: 256MB, end: 100%}}\n\
             - {{action: filesystem-deploy}}\n",
            self.mirror,
            self.packages_of_one_mirror(build)?.join(", ")
        );
        let folder = self.tree()?.join("recipe");
        remove_tree(&folder)?;
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("image.yaml"), recipe)?;
        self.in_tree("cd /recipe && exec debos --fakemachine-backend qemu --cpus 1 --memory 2GB --scratchsize 8GB image.yaml")
    }

    /// Has apt choose packages for an empty system, with its indexes and its own cache of them there.
    pub(super) fn apt_simulate(&self, requests: &[&str]) -> Result<Run> {
        let root = self.lab.folder.join("apt");
        let apt = || {
            let mut command = Command::new("apt-get");
            let folder = format!("Dir={}", root.display());
            command.args(["-o", &folder, "-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=false", "-o"]);
            command.arg("APT::Architecture=amd64").args(["-o", "APT::Architectures=amd64", "-o", "Dir::Etc::parts=/nonexistent"]);
            command
        };
        if !root.join("var/cache/apt/pkgcache.bin").exists() {
            for folder in ["etc/apt", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"] {
                fs::create_dir_all(root.join(folder))?;
            }
            let line = |archive: &str, suite: &str| format!("deb [signed-by={KEYRING}] {}{archive} {suite} main\n", self.mirror);
            let sources = [line("", "trixie"), line("", "trixie-updates"), line("-security", "trixie-security")].concat();
            fs::write(root.join("etc/apt/sources.list"), sources)?;
            timed(apt().args(["update", "-qq"]))?;
            timed(apt().args(["-s", "-qq", "install"]).args(requests))?;
        }
        timed(apt().args(["-s", "-qq", "install"]).args(requests))
    }

    /// Returns every package of an image that `oic` has built.
    fn packages(&self, build: Build<'_>) -> Result<Vec<String>> {
        self.lab.warm(build)?;
        let list = self.lab.output(build.name).join("packages.txt");
        let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Returns the packages without the newest kernel: mkosi and debos are given one mirror as it is, and it is not in that one.
    fn packages_of_one_mirror(&self, build: Build<'_>) -> Result<Vec<String>> {
        let is_kernel =
            |name: &String| name.strip_prefix("linux-image-").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        Ok(self.packages(build)?.into_iter().filter(|name| !is_kernel(name)).collect())
    }

    /// Returns the Debian 13 tree, which is made when it is not there.
    fn tree(&self) -> Result<PathBuf> {
        let tree = tree(self.lab);
        if !tree.join("usr/bin/debos").exists() {
            println!("making a Debian 13 tree for debos and mkosi");
            remove_tree(&tree)?;
            self.run_mmdebstrap("trixie", &["--variant=minbase", &format!("--include={TREE_PACKAGES}")], &tree)?;
        }
        Ok(tree)
    }

    /// Runs a command in the tree, with the mounts of a container that end with it.
    fn in_tree(&self, command: &str) -> Result<Run> {
        // mkosi wants its root to be a mount.
        let script = "set -e\nmount --rbind $0 $0\nmount -t proc proc $0/proc\nmount --rbind /sys $0/sys\nmount --rbind /dev $0/dev\nmount -t tmpfs tmpfs $0/run\n\
                      rm -f $0/etc/resolv.conf\ncp -L /etc/resolv.conf $0/etc/resolv.conf\nexec chroot $0 sh -c \"$1\"";
        timed(Command::new("unshare").args(["--mount", "sh", "-c", script]).arg(self.tree()?).arg(command))
    }
}

/// Installs the packages, each named with a file of it, that this machine lacks.
pub(super) fn install_missing(packages: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if !missing.is_empty() {
        println!("installing {}", missing.join(", "));
        timed(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing))?;
    }
    Ok(())
}

/// Makes a filesystem of a tree, removes both, and adds the time to that of the tree.
pub(super) fn with_filesystem(tree_made: &Run, tree: &Path) -> Result<Run> {
    let image = tree.with_extension("img");
    let mut mke2fs = Command::new("/usr/sbin/mke2fs");
    let image_made = timed(mke2fs.args(["-q", "-F", "-t", "ext4", "-d"]).arg(tree).arg(&image).arg("6G"))?;
    remove_tree(tree)?;
    fs::remove_file(image)?;
    Ok(Run { wall: tree_made.wall + image_made.wall, cpu: tree_made.cpu + image_made.cpu, ..Run::default() })
}

fn tree(lab: &Lab) -> PathBuf {
    lab.folder.join("peers-host")
}

/// Returns the versions of the peers that are there, as Debian calls them.
pub(super) fn versions(lab: &Lab) -> Vec<String> {
    let ask = |root: &Path, names: &[&str]| {
        let database = format!("--admindir={}", root.join("var/lib/dpkg").display());
        let output = Command::new("dpkg-query").arg(database).args(["-W", "-f", "${Package} ${Version}\\n"]).args(names).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().filter(|line| line.split(' ').nth(1).is_some_and(|version| !version.is_empty())).map(str::to_owned).collect::<Vec<_>>()
    };
    [ask(Path::new("/"), &["apt", "e2fsprogs", "mmdebstrap", "qemu-utils"]), ask(&tree(lab), &["debos", "mkosi"])].concat()
}

/// Returns the Debian mirror that this machine's apt uses.
fn mirror() -> Result<String> {
    let policy = Command::new("apt-get").args(["indextargets", "--format", "$(SITE) $(REPO_URI)", "Created-By: Packages"]).output()?;
    let text = String::from_utf8(policy.stdout)?;
    let uri = text.lines().filter_map(|line| line.split_whitespace().nth(1)).find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    Ok(uri.context("apt here uses no Debian mirror")?.trim_end_matches('/').to_owned())
}
