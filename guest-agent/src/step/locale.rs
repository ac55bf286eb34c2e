//! Generates a locale the way that Debian's family does: `/etc/locale.gen` lists it, `locale-gen` makes it.

use oic_protocol::{AgentError, LocalePlan};

use crate::{exec::Program, failure, rootfs::Ownership, runner::Context};

const LIST: &str = "/etc/locale.gen";

/// Lists the locale and has it generated.
///
/// # Errors
/// Fails when the list cannot be written or `locale-gen` does, for example because there is no such locale.
pub fn run(plan: &LocalePlan, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    if plan.line.contains(['\n', '\0']) {
        return Err(failure::invalid_plan(format!("the locale `{}` is more than one line", plan.line)));
    }
    let rootfs = &context.target.rootfs;
    let before = if rootfs.exists(LIST) { rootfs.read_text(LIST)? } else { String::new() };
    let after = listed(&before, &plan.line);
    rootfs.write_file(LIST, 0o644, Ownership::ROOT, &mut after.as_bytes())?;
    Program::new(["locale-gen"]).check(context.shell).map(drop)
}

/// Returns the list with the line in force: a comment of the distribution's list loses its mark, else it is added.
fn listed(before: &str, line: &str) -> String {
    let mut found = false;
    let mut lines: Vec<&str> = Vec::new();
    for old in before.lines() {
        let bare = old.trim_start_matches(['#', ' ']).trim_end();
        if bare == line && !found {
            found = true;
            lines.push(line);
        } else {
            lines.push(old);
        }
    }
    if !found {
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commented_locale_comes_into_force_and_another_is_added() {
        let list = "# This file lists locales.\n# de_DE.UTF-8 UTF-8\n# en_US.UTF-8 UTF-8\n";
        assert_eq!(listed(list, "de_DE.UTF-8 UTF-8"), "# This file lists locales.\nde_DE.UTF-8 UTF-8\n# en_US.UTF-8 UTF-8\n");
        assert_eq!(listed("", "C.UTF-8 UTF-8"), "C.UTF-8 UTF-8\n");
        assert_eq!(listed("de_DE.UTF-8 UTF-8\n", "de_DE.UTF-8 UTF-8"), "de_DE.UTF-8 UTF-8\n");
    }
}
