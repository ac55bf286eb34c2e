//! Dependencies as RPM writes them: `NAME`, `NAME OPERATOR VERSION`, or a rich dependency in parentheses.
//!
//! ```text
//! rich      = "(" operand operator operand … ")"
//! operator  = and | or | with          several, all the same
//!           | if | unless [… else …] | without
//! operand   = rich | NAME [OPERATOR VERSION]
//! ```
//!
//! Names may have parentheses of their own, which pair up: `libc.so.6()(64bit)`.

use std::fmt;

use super::evr::{Sense, overlap};

/// How deep rich dependencies may be nested.
const MAX_DEPTH: usize = 16;

/// How many operands one rich dependency may have in all.
const MAX_OPERANDS: usize = 512;

/// A name and the versions of it that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capability<'a> {
    /// Name of a package, a file or anything else that is provided.
    pub name: &'a str,
    /// Which versions.
    pub sense: Sense,
    /// The version; empty when all are meant.
    pub evr: &'a str,
}

impl<'a> Capability<'a> {
    /// Returns one that means all versions.
    #[must_use]
    pub fn any(name: &'a str) -> Self {
        Self { name, sense: Sense::ANY, evr: "" }
    }

    /// Returns whether something offered under the same name is meant.
    #[must_use]
    pub fn allows(&self, sense: Sense, evr: &str) -> bool {
        overlap((sense, evr), (self.sense, self.evr))
    }
}

impl fmt::Display for Capability<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sense {
            Sense::ANY => f.write_str(self.name),
            sense => write!(f, "{} {} {}", self.name, sense.operator(), self.evr),
        }
    }
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependency<'a> {
    /// One capability.
    Simple(Capability<'a>),
    /// All of them.
    And(Vec<Self>),
    /// One of them.
    Or(Vec<Self>),
    /// One package that provides all of them.
    With(Vec<Self>),
    /// One package that provides the first and not the second.
    Without(Box<[Self; 2]>),
    /// The first, if the second is there; otherwise the third.
    If(Box<[Self; 2]>, Option<Box<Self>>),
    /// The first, unless the second is there; then the third.
    Unless(Box<[Self; 2]>, Option<Box<Self>>),
}

/// The text is not a dependency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a dependency: {reason}")]
pub struct DependencyError {
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Returns whether a name in the metadata is a rich dependency.
#[must_use]
pub fn is_rich(name: &str) -> bool {
    name.starts_with('(')
}

impl<'a> Dependency<'a> {
    /// Parses a dependency as users and the metadata write it.
    ///
    /// # Errors
    /// Fails when the text does not follow the grammar, or nests too deep.
    pub fn parse(text: &'a str) -> Result<Self, DependencyError> {
        let mut parser = Parser { rest: text, operands: 0 };
        let parsed = if is_rich(text) { parser.rich(0) } else { parser.operand(0) };
        let checked = parsed.and_then(|dependency| match parser.rest.trim_ascii_start() {
            "" => Ok(dependency),
            _ => Err("something follows its end"),
        });
        checked.map_err(|reason| DependencyError { text: text.chars().take(200).collect(), reason })
    }
}

struct Parser<'a> {
    rest: &'a str,
    operands: usize,
}

impl<'a> Parser<'a> {
    fn operand(&mut self, depth: usize) -> Result<Dependency<'a>, &'static str> {
        self.rest = self.rest.trim_ascii_start();
        self.operands += 1;
        if self.operands > MAX_OPERANDS {
            return Err("it has too many parts");
        }
        if is_rich(self.rest) { self.rich(depth) } else { self.simple().map(Dependency::Simple) }
    }

    fn simple(&mut self) -> Result<Capability<'a>, &'static str> {
        let name = self.word();
        if name.is_empty() {
            return Err("a name is missing");
        }
        let before = self.rest;
        let operator = self.rest.trim_ascii_start();
        let end = operator.find(|c| !matches!(c, '<' | '=' | '>')).unwrap_or(operator.len());
        if end == 0 {
            self.rest = before;
            return Ok(Capability::any(name));
        }
        let sense = Sense::from_operator(&operator[..end]).ok_or("it has an unknown operator")?;
        self.rest = operator[end..].trim_ascii_start();
        let evr = self.word();
        if evr.is_empty() { Err("a version is missing") } else { Ok(Capability { name, sense, evr }) }
    }

    /// Takes everything up to white space or a parenthesis that it did not open.
    fn word(&mut self) -> &'a str {
        let mut open = 0_usize;
        let end = self.rest.find(|c: char| match c {
            '(' => {
                open += 1;
                false
            }
            ')' => open.checked_sub(1).inspect(|&left| open = left).is_none(),
            _ => c.is_ascii_whitespace(),
        });
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn rich(&mut self, depth: usize) -> Result<Dependency<'a>, &'static str> {
        if depth == MAX_DEPTH {
            return Err("it is nested too deep");
        }
        self.rest = self.rest.strip_prefix('(').ok_or("a parenthesis is missing")?;
        let mut operands = vec![self.operand(depth + 1)?];
        let mut operators: Vec<&str> = Vec::new();
        loop {
            self.rest = self.rest.trim_ascii_start();
            if let Some(rest) = self.rest.strip_prefix(')') {
                self.rest = rest;
                return build(&operators, operands);
            }
            operators.push(self.word());
            operands.push(self.operand(depth + 1)?);
        }
    }
}

fn build<'a>(operators: &[&str], mut operands: Vec<Dependency<'a>>) -> Result<Dependency<'a>, &'static str> {
    let same = |wanted: &str| operators.iter().all(|operator| *operator == wanted);
    match operators {
        [] => operands.pop().ok_or("it is empty"),
        ["and", ..] if same("and") => Ok(Dependency::And(operands)),
        ["or", ..] if same("or") => Ok(Dependency::Or(operands)),
        ["with", ..] if same("with") => Ok(Dependency::With(operands)),
        ["without"] => pair(operands).map(|(pair, _)| Dependency::Without(pair)),
        ["if"] | ["if", "else"] => pair(operands).map(|(pair, otherwise)| Dependency::If(pair, otherwise)),
        ["unless"] | ["unless", "else"] => pair(operands).map(|(pair, otherwise)| Dependency::Unless(pair, otherwise)),
        _ => Err("its operators do not go together"),
    }
}

type Pair<'a> = (Box<[Dependency<'a>; 2]>, Option<Box<Dependency<'a>>>);

fn pair(operands: Vec<Dependency<'_>>) -> Result<Pair<'_>, &'static str> {
    let mut operands = operands.into_iter();
    match (operands.next(), operands.next(), operands.next()) {
        (Some(first), Some(second), third) => Ok((Box::new([first, second]), third.map(Box::new))),
        _ => Err("an operand is missing"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn simple(name: &str) -> Dependency<'_> {
        Dependency::Simple(Capability::any(name))
    }

    #[test]
    fn dependencies_are_parsed_as_rpm_does() {
        let versioned = Capability { name: "python(abi)", sense: Sense::EQUAL, evr: "3.9" };
        for (text, expected) in [
            ("bash", simple("bash")),
            ("python(abi) = 3.9", Dependency::Simple(versioned)),
            ("(a or b or c)", Dependency::Or(vec![simple("a"), simple("b"), simple("c")])),
            (
                "(libcrypt.so.1()(64bit) if python3(x86-64))",
                Dependency::If(Box::new([simple("libcrypt.so.1()(64bit)"), simple("python3(x86-64)")]), None),
            ),
            (
                "(a if (b and c) else d)",
                Dependency::If(Box::new([simple("a"), Dependency::And(vec![simple("b"), simple("c")])]), Some(Box::new(simple("d")))),
            ),
            ("(python(abi) = 3.9 with a)", Dependency::With(vec![Dependency::Simple(versioned), simple("a")])),
            ("(a without b)", Dependency::Without(Box::new([simple("a"), simple("b")]))),
            ("(a)", simple("a")),
        ] {
            assert_eq!(Dependency::parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_dependency_is_refused() {
        for text in
            ["", "(", "()", "(a", "(a or)", "(a or b", "a b", "(a or b and c)", "(a xor b)", "a <> b", "a >=", "(a if b else c else d)"]
        {
            assert!(Dependency::parse(text).is_err(), "{text}");
        }
        assert!(Dependency::parse(&"(".repeat(10_000)).is_err());
        assert!(Dependency::parse(&format!("({}z)", "a or ".repeat(600))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-c() <>=]{0,40}|(\\((a|b|if|or|else|\\(|\\)| ){0,20}\\))") {
            let _ = Dependency::parse(&text);
        }
    }
}
