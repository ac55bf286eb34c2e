//! What firmware starts: unified kernel images, systemd-boot and GRUB, put together natively.

pub mod initramfs;
