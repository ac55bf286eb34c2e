//! What a source file uses: a lexer that is good enough to tell code from comments and strings, and paths from names.

use std::collections::BTreeMap;

/// A file, as far as the rules care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Number of lines, tests included.
    pub(super) lines: usize,
    /// Every path that the file names outside tests, with its line: `std::io::stdout`, `println!`, `unsafe`, `#[allow]`.
    pub(super) paths: Vec<(String, usize)>,
    /// Modules in files of their own that are for tests alone.
    pub(super) test_modules: Vec<String>,
}

/// A piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Mark(char),
}

impl Token {
    fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }

    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

type Spanned = (Token, usize);

impl Source {
    /// Reads a file's text.
    pub(super) fn parse(text: &str) -> Self {
        let (tokens, test_modules) = without_tests(&tokens(text));
        let mut imports = BTreeMap::new();
        let mut paths = Vec::new();
        let mut rest = Vec::new();
        let mut index = 0;
        while index < tokens.len() {
            if tokens[index].0.word() == Some("use") {
                let end = (index..tokens.len()).find(|at| tokens[*at].0.is(';')).unwrap_or(tokens.len());
                for (path, name, line) in use_tree(&tokens[index + 1..end], "") {
                    imports.insert(name, path.clone());
                    paths.push((path, line));
                }
                index = end + 1;
            } else {
                rest.push(tokens[index].clone());
                index += 1;
            }
        }
        paths.extend(inline_paths(&rest).into_iter().map(|(path, line)| (resolved(&path, &imports), line)));
        Self { lines: text.lines().count(), paths, test_modules }
    }
}

/// Follows the first part of a path through the file's imports.
fn resolved(path: &str, imports: &BTreeMap<String, String>) -> String {
    let (first, rest) = path.split_once("::").map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (imports.get(first), rest) {
        (Some(import), Some(rest)) => format!("{import}::{rest}"),
        (Some(import), None) => import.clone(),
        _ => path.to_owned(),
    }
}

/// Returns the paths of a `use` declaration, the names that they are known by, and their lines.
fn use_tree(tokens: &[Spanned], prefix: &str) -> Vec<(String, String, usize)> {
    let mut found = Vec::new();
    let mut path: Vec<&str> = if prefix.is_empty() { Vec::new() } else { vec![prefix] };
    let mut index = 0;
    let mut line = tokens.first().map_or(0, |(_, line)| *line);
    let mut name = None;
    let mut group = false;
    while index <= tokens.len() {
        match tokens.get(index).map(|(token, line)| (token, *line)) {
            Some((Token::Word(word), _)) if word == "as" => {
                name = tokens.get(index + 1).and_then(|(token, _)| token.word());
                index += 1;
            }
            Some((Token::Word(word), at)) => {
                line = at;
                path.push(word);
            }
            Some((Token::Mark('{'), _)) => {
                let end = closing(tokens, index);
                found.extend(use_tree(&tokens[index + 1..end], &path.join("::")));
                group = true;
                index = end;
            }
            None | Some((Token::Mark(','), _)) => {
                let own = path.len() > usize::from(!prefix.is_empty());
                if own && !group {
                    // `self` in a group means the group's own path.
                    let full: Vec<_> = path.iter().copied().filter(|part| *part != "self").collect();
                    let last = full.last().and_then(|part| part.rsplit("::").next()).unwrap_or_default();
                    found.push((full.join("::"), name.unwrap_or(last).to_owned(), line));
                }
                path.truncate(usize::from(!prefix.is_empty()));
                name = None;
                group = false;
            }
            Some(_) => {}
        }
        index += 1;
    }
    found
}

/// Returns the position of the bracket that closes the one at `open`, or the end.
fn closing(tokens: &[Spanned], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Mark('{' | '[' | '(') => depth += 1,
            Token::Mark('}' | ']' | ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len()
}

/// Returns the paths in code that is no `use`.
fn inline_paths(tokens: &[Spanned]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let (Token::Word(first), line) = &tokens[index] else {
            index += 1;
            continue;
        };
        let attribute = index >= 2 && tokens[index - 1].0.is('[') && (tokens[index - 2].0.is('#') || tokens[index - 2].0.is('!'));
        let mut path = first.clone();
        while let (Some((Token::Colons, _)), Some((Token::Word(next), _))) = (tokens.get(index + 1), tokens.get(index + 2)) {
            path = format!("{path}::{next}");
            index += 2;
        }
        if tokens.get(index + 1).is_some_and(|(token, _)| token.is('!')) && !tokens.get(index + 2).is_some_and(|(token, _)| token.is('=')) {
            path.push('!');
        }
        found.push((if attribute { format!("#[{path}]") } else { path }, *line));
        index += 1;
    }
    found
}

/// Leaves out every item behind `#[cfg(test)]`, and returns the names of those that are modules in files of their own.
fn without_tests(tokens: &[Spanned]) -> (Vec<Spanned>, Vec<String>) {
    let word = |text: &str| Token::Word(text.to_owned());
    let mark = [Token::Mark('#'), Token::Mark('['), word("cfg"), Token::Mark('('), word("test"), Token::Mark(')'), Token::Mark(']')];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut index = 0;
    while index < tokens.len() {
        if !tokens[index..].iter().map(|(token, _)| token).take(mark.len()).eq(mark.iter()) {
            kept.push(tokens[index].clone());
            index += 1;
            continue;
        }
        let start = index + mark.len();
        let end = (start..tokens.len()).find(|at| tokens[*at].0.is(';') || tokens[*at].0.is('{')).unwrap_or(tokens.len());
        if end < tokens.len() && tokens[end].0.is('{') {
            index = closing(tokens, end) + 1;
        } else {
            if end >= start + 2 && tokens[end - 2].0.word() == Some("mod") {
                modules.extend(tokens[end - 1].0.word().map(str::to_owned));
            }
            index = end + 1;
        }
    }
    (kept, modules)
}

/// Splits text into tokens; comments, strings, characters and numbers are left out.
fn tokens(text: &str) -> Vec<Spanned> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < chars.len() {
        let start = index;
        match at(index) {
            '/' if at(index + 1) == '/' => index = (index..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len()),
            '/' if at(index + 1) == '*' => index = block_comment_end(&chars, index),
            '"' => index = string_end(&chars, index),
            'r' | 'b' | 'c' if raw_string_end(&chars, index).is_some() => index = raw_string_end(&chars, index).unwrap_or(index + 1),
            'b' | 'c' if at(index + 1) == '"' => index = string_end(&chars, index + 1),
            '\'' => index = character_end(&chars, index),
            ':' if at(index + 1) == ':' => {
                found.push((Token::Colons, line));
                index += 2;
            }
            c if c.is_alphabetic() || c == '_' => {
                index = (index..chars.len()).find(|i| !(chars[*i].is_alphanumeric() || chars[*i] == '_')).unwrap_or(chars.len());
                found.push((Token::Word(chars[start..index].iter().collect()), line));
            }
            c if c.is_ascii_digit() => {
                index = (index..chars.len()).find(|i| !(chars[*i].is_alphanumeric() || chars[*i] == '_')).unwrap_or(chars.len());
            }
            c => {
                if !c.is_whitespace() {
                    found.push((Token::Mark(c), line));
                }
                index += 1;
            }
        }
        line += chars[start..index.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// Returns the end of a block comment, which may have others inside.
fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut index, mut depth) = (start, 0);
    while index < chars.len() {
        match (chars[index], chars.get(index + 1)) {
            ('/', Some('*')) => (depth, index) = (depth + 1, index + 1),
            ('*', Some('/')) => (depth, index) = (depth - 1, index + 1),
            _ => {}
        }
        index += 1;
        if depth == 0 {
            break;
        }
    }
    index
}

/// Returns the end of the string that begins with the quote at `start`.
fn string_end(chars: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < chars.len() && chars[index] != '"' {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// Returns the end of a raw string that begins at `start`, if one does.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let mut index = start;
    if matches!(chars[index], 'b' | 'c') {
        index += 1;
    }
    if chars.get(index) != Some(&'r') {
        return None;
    }
    index += 1;
    let hashes = chars[index..].iter().take_while(|c| **c == '#').count();
    index += hashes;
    if chars.get(index) != Some(&'"') {
        return None;
    }
    index += 1;
    while index < chars.len() {
        if chars[index] == '"' && chars[index + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return Some(index + 1 + hashes);
        }
        index += 1;
    }
    Some(index)
}

/// Returns the end of a character literal, or of the mark of a lifetime.
fn character_end(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => (start + 3..chars.len()).find(|i| chars[*i] == '\'').map_or(chars.len(), |end| end + 1),
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        Source::parse(text).paths.into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn imports_are_followed() {
        let found = paths(
            "use std::{io::{self, Write as _}, fs as files, net::TcpStream};\nfn f() { io::stdout(); files::read(x); TcpStream::connect(y); }",
        );
        for path in [
            "std::io",
            "std::io::Write",
            "std::fs",
            "std::net::TcpStream",
            "std::io::stdout",
            "std::fs::read",
            "std::net::TcpStream::connect",
        ] {
            assert!(found.iter().any(|candidate| candidate == path), "{path} in {found:?}");
        }
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = r##"
            // println!
            /* a /* std::fs */ println! */
            /// `reqwest::get`
            const A: &str = "println!(\"std::net\")"; const B: &str = r#"reqwest" "#; const C: char = '"'; const D: char = '\'';
            fn life<'a>(text: &'a str) -> &'a str { text }
            #[cfg(test)]
            mod tests { use std::fs; fn f() { println!("x"); } }
            #[cfg(test)]
            mod more;
            fn after() { other!(a != b) }
        "##;
        let found = paths(text);
        for path in ["println!", "std::fs", "reqwest::get", "reqwest", "std::net", "more", "a!"] {
            assert!(!found.iter().any(|candidate| candidate == path), "{path} in {found:?}");
        }
        assert_eq!(Source::parse(text).test_modules, ["more"]);
        assert!(found.contains(&"other!".to_owned()) && found.contains(&"after".to_owned()), "{found:?}");
    }

    #[test]
    fn attributes_and_lines_are_known() {
        let source = Source::parse("\n#[allow(dead_code)]\nfn f() {\n    unsafe { g() }\n}\n");
        assert!(source.paths.contains(&("#[allow]".into(), 2)), "{source:?}");
        assert!(source.paths.contains(&("unsafe".into(), 4)));
        assert_eq!(source.lines, 5);
    }
}
