//! Globs over package names: `*`, `?` and `[…]` with ranges and `!`, as the shell has them.

/// Returns whether `text` is a glob rather than a plain name.
#[must_use]
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Returns whether `name` matches `pattern` as a whole. Takes time proportional to the product of their lengths at most.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when a later mismatch makes the last star take one byte more.
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = match_one(&pattern[p..], name[n]) {
            p += next;
            n += 1;
        } else if let Some((star_p, star_n)) = star {
            (p, n) = (star_p + 1, star_n + 1);
            star = Some((star_p, n));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte and returns how much of the pattern that took.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match_set(pattern, byte),
        &literal => (literal == byte).then_some(1),
    }
}

/// Matches `[…]`; a bracket that is never closed is a plain character.
fn match_set(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = if negated { 2 } else { 1 };
    let Some(length) = pattern.get(start + 1..).and_then(|rest| rest.iter().position(|&b| b == b']')) else {
        return (byte == b'[').then_some(1);
    };
    let set = &pattern[start..=start + length];
    let mut found = false;
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == b'-' {
            found |= (set[at]..=set[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= set[at] == byte;
            at += 1;
        }
    }
    (found != negated).then_some(start + length + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn globs_match_as_in_the_shell() {
        for (pattern, yes, no) in [
            ("linux-image-*", "linux-image-amd64", "linux-headers-amd64"),
            ("lib?", "liba", "lib"),
            ("python3.[0-9]", "python3.9", "python3.x"),
            ("a[!b]c", "axc", "abc"),
            ("*-dev", "libc6-dev", "libc6-dev-bin"),
            ("*a*b*", "xaybz", "xbya"),
            ("a[", "a[", "a"),
            ("[]x]", "]", "["),
            ("vim", "vim", "vim-tiny"),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(!matches(pattern, no), "{pattern} {no}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[ab*?\\[\\]!-]{0,24}", name in "[ab]{0,24}") {
            let _ = matches(&pattern, &name);
            let starred = format!("*{name}*");
            prop_assert!(matches(&starred, &name));
        }
    }
}
