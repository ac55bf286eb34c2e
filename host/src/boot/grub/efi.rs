//! GRUB for EFI firmware: the distribution's signed programs, or an image that is made here.

use super::{BootVolume, make_image};
use crate::{
    boot::{BootError, BootInput, EfiNames},
    rootfs::{
        content::Content,
        path::Shown,
        tree::{Metadata, RootTree},
    },
};

/// The folder in which packages of the RPM family bring signed programs.
const VENDOR_FOLDERS: &str = "/boot/efi/EFI";

/// The signed programs of a target.
struct Signed<'a> {
    grub: &'a Content,
    shim: Option<&'a Content>,
    /// The manager of shim's keys.
    manager: Option<&'a Content>,
    /// The folder on the EFI system partition that GRUB was built to read its configuration from.
    folder: String,
}

/// Returns the tree of an EFI system partition that starts the menu.
///
/// # Errors
/// Fails when the target has neither signed programs nor modules, or files cannot be read or written.
pub fn esp_tree(input: &BootInput<'_>, volume: &BootVolume) -> Result<RootTree, BootError> {
    let names = EfiNames::of(input.arch);
    let mut esp = RootTree::new(Metadata::root_owned(0o755, input.epoch));
    let mut put = |path: &str, content: Content| esp.write_file(path, content, 0o644, input.epoch).map(|_| ());
    let suffix = names.suffix;
    let Some(signed) = find_signed(input, &names) else {
        let package = format!("grub-efi-{}-bin", input.arch.deb_name());
        let path = make_image(input, volume, names.grub_platform, &package, &volume.path(super::folder(input.root)))?;
        let image = Content::whole_file(&path).map_err(super::failed(&path))?;
        put(&format!("EFI/BOOT/{}", names.removable), image.clone())?;
        put(&format!("EFI/{}/grub{suffix}.efi", input.os.id), image)?;
        return Ok(esp);
    };
    let finder = format!("{}configfile $prefix/grub.cfg\n", volume.early_configuration(super::folder(input.root)));
    let finder = Content::bytes(finder.into_bytes());
    // Without shim GRUB is what firmware starts; with it, shim looks for GRUB beside itself.
    put(&format!("EFI/BOOT/{}", names.removable), signed.shim.unwrap_or(signed.grub).clone())?;
    let mut folders = vec!["BOOT", &input.os.id];
    if !folders.iter().any(|folder| folder.eq_ignore_ascii_case(&signed.folder)) {
        folders.push(&signed.folder);
    }
    for folder in folders {
        put(&format!("EFI/{folder}/grub{suffix}.efi"), signed.grub.clone())?;
        put(&format!("EFI/{folder}/grub.cfg"), finder.clone())?;
    }
    if signed.folder.eq_ignore_ascii_case("BOOT") {
        // Built for no vendor's folder, GRUB looks for the menu where a system has it, and there on its own partition.
        put(&format!("{}/grub.cfg", super::folder(input.root).trim_start_matches('/')), finder)?;
    }
    if let Some(shim) = signed.shim {
        put(&format!("EFI/{}/shim{suffix}.efi", input.os.id), shim.clone())?;
    }
    if let Some(manager) = signed.manager {
        put(&format!("EFI/BOOT/mm{suffix}.efi"), manager.clone())?;
    }
    Ok(esp)
}

/// Finds the signed programs: where Debian's packages have them, else where those of the RPM family have.
fn find_signed<'a>(input: &BootInput<'a>, names: &EfiNames) -> Option<Signed<'a>> {
    let suffix = names.suffix;
    let file = |path: String| input.root.file(path);
    if let Some(grub) = file(format!("/usr/lib/grub/{}-signed/grub{suffix}.efi.signed", names.grub_platform)) {
        return Some(Signed {
            grub,
            shim: file(format!("/usr/lib/shim/shim{suffix}.efi.signed")),
            manager: file(format!("/usr/lib/shim/mm{suffix}.efi.signed")),
            folder: input.os.id.clone(),
        });
    }
    let folders: Vec<String> = input.root.names(VENDOR_FOLDERS).map(|(name, _)| Shown(name).to_string()).collect();
    let in_any = |name: &str| folders.iter().find_map(|folder| Some((file(format!("{VENDOR_FOLDERS}/{folder}/{name}"))?, folder.clone())));
    let (grub, folder) = in_any(&format!("grub{suffix}.efi"))?;
    let first = |names: [String; 3]| names.iter().find_map(|name| in_any(name)).map(|(content, _)| content);
    let shim = first([format!("shim{suffix}.efi"), names.removable.to_owned(), names.removable.to_ascii_lowercase()]);
    let manager = in_any(&format!("mm{suffix}.efi")).map(|(content, _)| content);
    Some(Signed { grub, shim, manager, folder })
}
