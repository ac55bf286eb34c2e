//! Relations between packages: the grammar of Debian Policy §7.1 as it occurs in `Packages` files.
//!
//! A field is a list, separated by commas, of groups; a group is a list of alternatives, separated by bars; an alternative
//! is a package name, perhaps with an architecture qualifier, perhaps with a version in parentheses. Architecture and
//! profile restrictions (`[…]`, `<…>`) only exist in source packages and are errors here.
//!
//! A name keeps its qualifier: `python3:any` is a name of its own, which the solver's universe gives to packages that are
//! `Multi-Arch: allowed`.

use std::{cmp::Ordering, fmt};

use super::version;

/// How a version is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Comparison {
    /// All of them, in the order of their numbers in stored indexes.
    pub(super) const ALL: [Self; 5] = [Self::Earlier, Self::EarlierOrEqual, Self::Equal, Self::LaterOrEqual, Self::Later];

    /// Returns whether `version` stands in this relation to `bound`.
    #[must_use]
    pub fn holds(self, version: &str, bound: &str) -> bool {
        let ordering = version::compare(version, bound);
        match self {
            Self::Earlier => ordering == Ordering::Less,
            Self::EarlierOrEqual => ordering != Ordering::Greater,
            Self::Equal => ordering == Ordering::Equal,
            Self::LaterOrEqual => ordering != Ordering::Less,
            Self::Later => ordering == Ordering::Greater,
        }
    }

    /// Takes the operator at the start of `text`; without one, `=` is meant. `<` and `>` alone are the old spellings of `<=` and `>=`.
    fn take(text: &str) -> (Self, &str) {
        const SPELLINGS: [(&str, Comparison); 7] = [
            ("<<", Comparison::Earlier),
            ("<=", Comparison::EarlierOrEqual),
            ("<", Comparison::EarlierOrEqual),
            (">>", Comparison::Later),
            (">=", Comparison::LaterOrEqual),
            (">", Comparison::LaterOrEqual),
            ("=", Comparison::Equal),
        ];
        let spelling = SPELLINGS.into_iter().find_map(|(spelling, comparison)| Some((comparison, text.strip_prefix(spelling)?)));
        spelling.unwrap_or((Self::Equal, text))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

/// One alternative of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alternative<'a> {
    /// Name of the package, with its qualifier if it has one.
    pub name: &'a str,
    /// The versions that are meant; none: all.
    pub constraint: Option<(Comparison, &'a str)>,
}

impl fmt::Display for Alternative<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.constraint {
            None => f.write_str(self.name),
            Some((comparison, version)) => write!(f, "{} ({comparison} {version})", self.name),
        }
    }
}

/// The text is not a relation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a relation: {reason}")]
pub struct RelationError {
    /// The alternative that is wrong, shortened.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Returns whether `name` is a package name that dpkg accepts.
#[must_use]
pub fn is_package_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte))
}

/// Parses a field, calling `take` for each alternative with whether another one of the same group follows.
///
/// # Errors
/// Fails at the first alternative that does not follow the grammar.
pub fn parse_field<'a>(field: &'a str, mut take: impl FnMut(Alternative<'a>, bool)) -> Result<(), RelationError> {
    for group in field.split(',') {
        if group.trim_ascii().is_empty() {
            continue;
        }
        let mut rest = Some(group);
        while let Some(text) = rest {
            let (alternative, next) = match text.split_once('|') {
                Some((alternative, next)) => (alternative, Some(next)),
                None => (text, None),
            };
            take(parse_alternative(alternative.trim_ascii())?, next.is_some());
            rest = next;
        }
    }
    Ok(())
}

/// Parses one alternative without space around it.
fn parse_alternative(text: &str) -> Result<Alternative<'_>, RelationError> {
    let fail = |reason| RelationError { text: text.chars().take(80).collect(), reason };
    let end = text.find(|c: char| c == '(' || c.is_ascii_whitespace()).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let (plain, qualifier) = match name.split_once(':') {
        Some((plain, qualifier)) => (plain, Some(qualifier)),
        None => (name, None),
    };
    if !is_package_name(plain) {
        return Err(fail("it does not begin with a package name"));
    }
    if qualifier.is_some_and(|qualifier| qualifier.is_empty() || !qualifier.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')) {
        return Err(fail("the architecture after the colon is malformed"));
    }
    let rest = rest.trim_ascii_start();
    if rest.is_empty() {
        return Ok(Alternative { name, constraint: None });
    }
    let inside = rest
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| fail("only a version in parentheses may follow the name"))?;
    let (comparison, version) = Comparison::take(inside.trim_ascii());
    let version = version.trim_ascii();
    if !version::is_well_formed(version) {
        return Err(fail("the version is malformed"));
    }
    Ok(Alternative { name, constraint: Some((comparison, version)) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(field: &str) -> Result<String, RelationError> {
        let mut text = String::new();
        parse_field(field, |alternative, more| {
            text += &alternative.to_string();
            text += if more { " | " } else { "; " };
        })?;
        Ok(text)
    }

    #[test]
    fn the_grammar_of_policy_is_understood() {
        for (field, expected) in [
            ("libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0", "libc6 (>= 2.36); debconf (>= 0.5) | debconf-2.0; "),
            ("python3:any (>=3.11~)", "python3:any (>= 3.11~); "),
            ("a(=1:2-3)|b( << 4 ),\n c (> 1), d (< 2), e (3)", "a (= 1:2-3) | b (<< 4); c (>= 1); d (<= 2); e (= 3); "),
            (" , a, , ", "a; "),
            ("", ""),
        ] {
            assert_eq!(render(field).as_deref(), Ok(expected), "{field}");
        }
    }

    #[test]
    fn anything_else_is_an_error_that_shows_it() {
        for field in
            ["a |", "| a", "a b", "a (1", "a (>= )", "a [amd64]", "a <!nocheck>", "a: (1)", "a:b:c", "é", "a (>= 1 2)", "../x", "a (~= 1)"]
        {
            let error = render(field).expect_err(field);
            assert!(error.to_string().contains("is not a relation"), "{error}");
        }
    }

    #[test]
    fn comparisons_hold_as_written() {
        for (comparison, holds) in Comparison::ALL.into_iter().zip([
            [true, false, false],
            [true, true, false],
            [false, true, false],
            [false, true, true],
            [false, false, true],
        ]) {
            for (version, expected) in ["1", "2.0", "3"].into_iter().zip(holds) {
                assert_eq!(comparison.holds(version, "2.00"), expected, "{version} {comparison} 2.00");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_ends_in_alternatives_or_an_error(field in "\\PC{0,64}") {
            let _ = render(&field);
        }

        #[test]
        fn what_is_rendered_parses_to_the_same(names in proptest::collection::vec(("[a-z0-9][a-z0-9+.-]{0,6}", proptest::option::of(("[0-9]\\.[0-9]", 0..5_usize))), 1..6)) {
            let field = names.iter().map(|(name, version)| {
                let constraint = version.as_ref().map(|(version, at)| (Comparison::ALL[*at], version.as_str()));
                Alternative { name, constraint }.to_string()
            }).collect::<Vec<_>>().join(" | ");
            prop_assert_eq!(render(&field).unwrap(), format!("{field}; "));
        }
    }
}
