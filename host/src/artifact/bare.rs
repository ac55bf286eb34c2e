//! Output files that hold a root filesystem and no disk: a tar archive, a container image, a filesystem by itself, a
//! distribution for WSL, an initramfs.
//!
//! They are made from the tree that a disk's partitions are made from, before it is split at mount points: everything that is
//! below `/` in the running system, boot files of the EFI system partition aside.
//!
//! An initramfs of a whole system is three files: the archive, the kernel, and the text of the kernel's command line.
//!
//! A container image is one archive that is both an OCI image layout and what `docker load` takes:
//!
//! ```text
//! oci-layout, index.json → manifest → config, layer      blobs/sha256/…, by digest
//! manifest.json → the same config and layer              for Docker
//! ```

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use oic_config::spec::{Arch, Compression, Filesystem};
use serde_json::json;
use uuid::Uuid;

use crate::{
    boot::initramfs::Compressor,
    digest::Sha256Digest,
    disk::{
        DiskTools,
        ext4::{self, Ext4Error, Ext4Options, Profile},
        layout,
        packed::{self, PackError},
    },
    report::spdx,
    rootfs::{
        Content, RootTree, TreeError,
        cpio::{self, CpioWriteError},
        tar::{self, TarWriteError},
        tree::Metadata,
    },
};

/// The level that WSL distributions are compressed with.
const GZIP_LEVEL: u32 = 6;

/// Why a root filesystem cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// The archive cannot be written.
    #[error("cannot write the root filesystem to `{}`", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TarWriteError,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive's own tree is impossible.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The filesystem cannot be made.
    #[error("cannot make the filesystem `{}`", path.display())]
    Ext4 {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Ext4Error,
    },
    /// The packed filesystem cannot be made.
    #[error("cannot make the filesystem `{}`", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PackError,
    },
    /// The initramfs cannot be written.
    #[error("cannot write the initramfs `{}`", path.display())]
    Initramfs {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CpioWriteError,
    },
    /// There is no kernel to go with an initramfs.
    #[error("an initramfs is to be written for an image without a kernel")]
    NoKernel,
}

/// A root filesystem and what outputs say about it.
#[derive(Debug)]
pub struct BareRoot<'a> {
    /// The files.
    pub tree: &'a RootTree,
    /// `image.name`.
    pub name: &'a str,
    /// `image.version`.
    pub version: &'a str,
    /// Architecture.
    pub arch: Arch,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: u64,
    /// UUID of a filesystem that is made.
    pub uuid: Uuid,
    /// Makers of filesystems.
    pub tools: &'a DiskTools,
    /// What starts the root filesystem where that is an initramfs.
    pub kernel: Option<BareKernel>,
}

/// A kernel that is an output file of its own.
#[derive(Debug, Clone)]
pub struct BareKernel {
    /// The kernel.
    pub content: Content,
    /// Its command line.
    pub cmdline: String,
}

impl BareRoot<'_> {
    fn time(&self) -> i64 {
        i64::try_from(self.epoch).unwrap_or(i64::MAX)
    }

    /// Writes a tar archive.
    ///
    /// # Errors
    /// Fails when a content cannot be read or the file cannot be written.
    pub fn tar(&self, path: &Path) -> Result<(), BareError> {
        archive(self.tree, path)
    }

    /// Writes an ext4 filesystem with some room, in a file of its own.
    ///
    /// # Errors
    /// Fails when a content cannot be read or `mke2fs` fails.
    pub fn ext4(&self, path: &Path) -> Result<(), BareError> {
        let size = layout::with_headroom(ext4::minimal_size(self.tree, Profile::Ext4));
        let options = Ext4Options { profile: Profile::Ext4, uuid: self.uuid, label: None, epoch: self.epoch };
        let made = ext4::make(&self.tools.ext4, self.tree, path, 0, size, &options);
        made.map_err(|source| BareError::Ext4 { path: path.to_owned(), source })
    }

    /// Writes a SquashFS filesystem.
    ///
    /// # Errors
    /// Fails when a content cannot be read or `mksquashfs` fails.
    pub fn squashfs(&self, path: &Path) -> Result<(), BareError> {
        File::create(path).map_err(|source| BareError::File { path: path.to_owned(), source })?;
        let made = packed::make(self.tools, Filesystem::Squashfs, self.tree, path, self.uuid, self.epoch);
        made.map_err(|source| BareError::Packed { path: path.to_owned(), source })
    }

    /// Writes a distribution for WSL: a tar archive, compressed with gzip.
    ///
    /// # Errors
    /// Fails when a content cannot be read or the file cannot be written.
    pub fn wsl(&self, path: &Path) -> Result<(), BareError> {
        let failed = |source| BareError::File { path: path.to_owned(), source };
        let output = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
        let mut encoder = flate2::write::GzEncoder::new(output, flate2::Compression::new(GZIP_LEVEL));
        tar::write_tree(self.tree, &mut encoder).map_err(|source| BareError::Archive { path: path.to_owned(), source })?;
        encoder.finish().and_then(|mut output| output.flush()).map_err(failed)
    }

    /// Writes an initramfs.
    ///
    /// # Errors
    /// Fails when a content cannot be read, is too large, or the file cannot be written.
    pub fn initramfs(&self, path: &Path, compression: Compression) -> Result<(), BareError> {
        let failed = |source| BareError::File { path: path.to_owned(), source };
        let mut output = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
        let compressor = match compression {
            Compression::Zstd => Some(Compressor::Zstd),
            Compression::Xz => Some(Compressor::Xz),
            Compression::Gz => Some(Compressor::Gzip),
            Compression::None | Compression::Bz2 => None,
        };
        let written = match compressor {
            Some(compressor) => compressor.stream(&mut output, |mut output| cpio::write_tree(self.tree, &mut output)),
            None => cpio::write_tree(self.tree, &mut output),
        };
        written.map_err(|source| BareError::Initramfs { path: path.to_owned(), source })?;
        output.flush().map_err(failed)
    }

    /// Writes the kernel that starts the initramfs, and its command line.
    ///
    /// # Errors
    /// Fails when there is none, it cannot be read or a file cannot be written.
    pub fn kernel(&self, kernel_path: &Path, cmdline_path: &Path) -> Result<(), BareError> {
        let kernel = self.kernel.as_ref().ok_or(BareError::NoKernel)?;
        let copied = File::create(kernel_path).and_then(|mut file| io::copy(&mut kernel.content.reader(), &mut file));
        copied.map_err(|source| BareError::File { path: kernel_path.to_owned(), source })?;
        let written = std::fs::write(cmdline_path, format!("{}\n", kernel.cmdline));
        written.map_err(|source| BareError::File { path: cmdline_path.to_owned(), source })
    }

    /// Writes a container image.
    ///
    /// # Errors
    /// Fails when a content cannot be read or the file cannot be written.
    pub fn oci(&self, path: &Path) -> Result<(), BareError> {
        let failed = |source| BareError::File { path: path.to_owned(), source };
        let folder = path.parent().unwrap_or(Path::new("."));
        let layer = tempfile::Builder::new().prefix(".oic-").tempfile_in(folder).map_err(failed)?;
        archive(self.tree, layer.path())?;
        let mut file = File::open(layer.path()).map_err(failed)?;
        let digest = Sha256Digest::of_reader(&mut file).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut tree = RootTree::new(Metadata::root_owned(0o755, self.time()));
        let layer_content = Content::whole_file(layer.path()).map_err(failed)?;
        tree.write_file(blob(&digest), layer_content, 0o644, self.time())?;
        self.describe(&mut tree, digest, size)?;
        archive(&tree, path)
    }

    /// Adds what describes a layer.
    fn describe(&self, tree: &mut RootTree, layer: Sha256Digest, size: u64) -> Result<(), BareError> {
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        let created = spdx::timestamp(self.epoch);
        let architecture = match self.arch {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
            Arch::Riscv64 => "riscv64",
        };
        let config = json!({
            "created": created,
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["/bin/sh"],
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
            "history": [{ "created": created, "created_by": "oic" }],
        });
        let (config, config_size) = self.add(tree, &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{config}"), "size": config_size },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{layer}"), "size": size }],
        });
        let (manifest, manifest_size) = self.add(tree, &manifest)?;
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": MANIFEST,
                "digest": format!("sha256:{manifest}"),
                "size": manifest_size,
                "platform": { "architecture": architecture, "os": "linux" },
                "annotations": { "org.opencontainers.image.ref.name": self.version },
            }],
        });
        let docker = json!([{
            "Config": blob(&config),
            "RepoTags": [format!("{}:{}", self.name.to_lowercase(), self.version.replace('+', "-"))],
            "Layers": [blob(&layer)],
        }]);
        for (name, value) in [("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })), ("index.json", index), ("manifest.json", docker)] {
            tree.write_file(name, Content::bytes(value.to_string().into_bytes()), 0o644, self.time())?;
        }
        Ok(())
    }

    /// Adds a document as a blob and returns its digest and size.
    fn add(&self, tree: &mut RootTree, document: &serde_json::Value) -> Result<(Sha256Digest, usize), BareError> {
        let bytes = document.to_string().into_bytes();
        let (digest, size) = (Sha256Digest::of(&bytes), bytes.len());
        tree.write_file(blob(&digest), Content::bytes(bytes), 0o644, self.time())?;
        Ok((digest, size))
    }
}

fn blob(digest: &Sha256Digest) -> String {
    format!("blobs/sha256/{digest}")
}

fn archive(tree: &RootTree, path: &Path) -> Result<(), BareError> {
    let failed = |source| BareError::File { path: path.to_owned(), source };
    let mut output = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    tar::write_tree(tree, &mut output).map_err(|source| BareError::Archive { path: path.to_owned(), source })?;
    output.flush().map_err(failed)
}
