//! What a template says for its own architecture, in the words of the one that it is built for.
//!
//! `--arch` takes the other architecture's defaults, but a template may name what exists on its own only: a kernel package, a
//! bootloader's package, the serial console. Names that the distribution's data has for both architectures are exchanged, so
//! that one template serves all of them. What the command line itself sets is taken as it is.

use crate::node::{Node, Value};
use crate::spec::Arch;

/// Names of one architecture with those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dictionary {
    /// Packages.
    pub(crate) packages: Vec<(String, String)>,
    /// Serial consoles.
    pub(crate) console: (&'static str, &'static str),
}

impl Dictionary {
    /// Pairs lists of packages, each the same list in the words of either architecture. What the other list is too short for
    /// becomes its first entry: an architecture with one kernel has that instead of every other.
    pub(crate) fn new((from, to): (Arch, Arch), lists: &[(&[String], &[String])]) -> Self {
        let pairs = lists.iter().flat_map(|(own, other)| {
            let counterpart = |index: usize| other.get(index).or(other.first());
            own.iter().enumerate().filter_map(move |(index, name)| Some((name.clone(), counterpart(index)?.clone())))
        });
        Self { packages: pairs.filter(|(own, other)| own != other).collect(), console: (from.serial_console(), to.serial_console()) }
    }

    /// Exchanges the names in a layer.
    pub(crate) fn apply(&self, layer: &mut Node) {
        for list in [&["systemConfig", "packages"][..], &["systemConfig", "kernel", "packages"]] {
            if let Some(Node { value: Value::List(entries), .. }) = layer.at_mut(list) {
                entries.iter_mut().for_each(|entry| self.package(entry));
            }
        }
        if let Some(Node { value: Value::Scalar { text, .. }, .. }) = layer.at_mut(&["systemConfig", "kernel", "cmdline"]) {
            *text = text.split(' ').map(|word| self.parameter(word)).collect::<Vec<_>>().join(" ");
        }
    }

    fn package(&self, entry: &mut Node) {
        let Value::Scalar { text, .. } = &mut entry.value else { return };
        let name = text.strip_prefix('-').unwrap_or(text);
        if let Some((_, other)) = self.packages.iter().find(|(own, _)| own == name) {
            *text = format!("{}{other}", &text[..text.len() - name.len()]);
        }
    }

    /// Returns a kernel parameter with the other console: `console=ttyS0,115200` with `ttyAMA0`.
    fn parameter(&self, word: &str) -> String {
        let (own, other) = self.console;
        let options = word.strip_prefix("console=").and_then(|console| console.strip_prefix(own));
        match options.filter(|options| options.is_empty() || options.starts_with(',')) {
            Some(options) => format!("console={other}{options}"),
            None => word.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn names_are_paired_by_their_places() {
        let (own, other, one) = (texts(&["k-amd64", "k-cloud-amd64", "same"]), texts(&["k-arm64", "k-cloud-arm64", "same"]), texts(&["k"]));
        let pairs = |other: &[String]| Dictionary::new((Arch::X86_64, Arch::Aarch64), &[(&own, other)]).packages;
        let pair = |own: &str, other: &str| (own.to_owned(), other.to_owned());
        assert_eq!(pairs(&other), [pair("k-amd64", "k-arm64"), pair("k-cloud-amd64", "k-cloud-arm64")]);
        assert_eq!(pairs(&one), [pair("k-amd64", "k"), pair("k-cloud-amd64", "k"), pair("same", "k")]);
        assert_eq!(pairs(&[]), []);
    }

    #[test]
    fn the_serial_console_is_the_architectures() {
        let dictionary = Dictionary::new((Arch::X86_64, Arch::Aarch64), &[]);
        for (own, other) in [
            ("console=ttyS0,115200", "console=ttyAMA0,115200"),
            ("console=ttyS0", "console=ttyAMA0"),
            ("console=ttyS01", "console=ttyS01"),
            ("console=tty0", "console=tty0"),
            ("quiet", "quiet"),
        ] {
            assert_eq!(dictionary.parameter(own), other);
        }
    }
}
