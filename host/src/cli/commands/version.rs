//! `oic version`: which program this is, and which formats it speaks.

use oic_config::spec::Arch;

use crate::{
    cli::{command_error::CommandError, printer::Printer},
    lock::LOCK_VERSION,
    report::manifest::MANIFEST_VERSION,
};

/// Prints versions.
pub(crate) fn version(printer: &Printer) -> Result<(), CommandError> {
    printer.result(&format!("oic {}", env!("CARGO_PKG_VERSION")))?;
    printer.result(&format!("host      {}", Arch::host()))?;
    printer.result(&format!("lock      {LOCK_VERSION}"))?;
    printer.result(&format!("manifest  {MANIFEST_VERSION}"))?;
    printer.result(&format!("protocol  {}", oic_protocol::PROTOCOL_VERSION))?;
    Ok(())
}
