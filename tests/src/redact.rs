//! Placeholders for what differs from run to run and from machine to machine.

use crate::Sandbox;

/// Returns `text` with the sandbox's folder, the version of `oic`, times, and this machine's architecture replaced.
#[must_use]
pub fn redact(text: &str, sandbox: &Sandbox) -> String {
    let root = sandbox.root().to_string_lossy();
    let named = text.replace(root.as_ref(), "[SANDBOX]").replace(&format!("oic {}", env!("CARGO_PKG_VERSION")), "oic [VERSION]");
    named.split_inclusive('\n').map(|line| redact_padding(&redact_times(line))).collect()
}

/// Makes the spaces in front of a comment two: how many there are depends on the length of this machine's paths.
fn redact_padding(line: &str) -> String {
    match line.split_once("  # ") {
        Some((text, comment)) => format!("{}  # {}", text.trim_end(), comment.trim_start()),
        None => line.to_owned(),
    }
}

/// Replaces `1.2 s`, `3 min 4 s` and the seconds that log lines begin with.
fn redact_times(line: &str) -> String {
    if let Some(rest) = line.strip_prefix('[')
        && let Some((stamp, rest)) = rest.split_once(']')
        && stamp.trim().parse::<f64>().is_ok()
    {
        return format!("[TIME]{}", redact_times(rest));
    }
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for index in 1..words.len() {
        let unit = words[index].trim_end_matches(['\n', ',', ')', ';', '.']).to_owned();
        let number = words[index - 1].parse::<f64>().is_ok();
        if number && (unit == "s" || unit == "ms" || unit == "min") {
            words[index - 1] = "[TIME]".to_owned();
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_paths_become_placeholders() {
        let sandbox = Sandbox::new();
        let text = format!(
            "key: 1     # default\n[    1.234] fetch: done in 12.3 s, cached\nwrote {}/cwd/a\n3 packages\n2 min 5 s\n",
            sandbox.root().display()
        );
        assert_eq!(
            redact(&text, &sandbox),
            "key: 1  # default\n[TIME] fetch: done in [TIME] s, cached\nwrote [SANDBOX]/cwd/a\n3 packages\n[TIME] min [TIME] s\n"
        );
    }
}
