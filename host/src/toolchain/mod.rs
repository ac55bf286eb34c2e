//! Programs and the builder VM, unpacked from Debian packages without running any script of theirs.
