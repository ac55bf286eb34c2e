//! Root filesystems as trees: packages unpacked natively, trees read back from disks.
