//! Processor architectures and what each ecosystem calls them.

use std::fmt;

use serde::Serialize;

/// A processor architecture that images are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Arch {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::X86_64, Self::Aarch64, Self::Riscv64];

    /// Returns the name that templates and `uname -m` use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Returns Debian's name of it.
    #[must_use]
    pub fn deb_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Returns the architecture called `name` in a template or by `uname -m`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == name)
    }

    /// Returns the kernel's name of the serial console that machines and emulators of it have first.
    #[must_use]
    pub fn serial_console(self) -> &'static str {
        match self {
            Self::X86_64 | Self::Riscv64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// Returns the architecture of the machine that this program was built for.
    ///
    /// # Panics
    /// Panics on an architecture that `oic` is not released for.
    #[must_use]
    pub fn host() -> Self {
        Self::from_name(std::env::consts::ARCH).expect("oic is built for x86_64, aarch64 or riscv64")
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
