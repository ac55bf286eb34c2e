//! `SHA256SUMS`: one line per output, as `sha256sum -c` reads it.

use super::manifest::OutputRecord;

/// Returns the text for `outputs`, sorted by name.
///
/// Names are those of files that `oic` named itself; line ends and backslashes, which the format would have to escape, do not
/// occur in them.
#[must_use]
pub fn render(outputs: &[OutputRecord]) -> String {
    let mut lines: Vec<_> = outputs.iter().map(|output| (&output.name, &output.sha256)).collect();
    lines.sort();
    lines.into_iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256Digest;

    #[test]
    fn sorted_lines_with_two_spaces() {
        let output = |name: &str| OutputRecord { name: name.into(), format: "raw".into(), size: 3, sha256: Sha256Digest::of(b"abc") };
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(render(&[output("b.raw"), output("a.raw")]), format!("{digest}  a.raw\n{digest}  b.raw\n"));
    }
}
