//! `systemConfig.users` and `systemConfig.groups`.

use std::collections::BTreeSet;

use super::Context;
use super::packages::missing_file;
use super::system::destination;
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, HashName, Located};
use crate::source::{Origin, read_text};
use crate::spec::{Group, Password, PasswordHash, User};

/// Highest number of an account or group: the one above means "none" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// Days of a password without a limit, as distributions write it.
const NO_LIMIT: u32 = 99_999;

/// Returns one group.
pub(super) fn group(given: &Located<layer::Group>, cx: &mut Context<'_>) -> Option<Group> {
    let name = given.name.as_ref()?;
    let field = format!("systemConfig.groups[{}]", name.value.0);
    if cx.is_placeholder(&name.value.0, name.origin, &field) {
        return None;
    }
    account_name(&name.value.0, name.origin, &field, "group", cx);
    Some(Group { name: name.value.0.clone(), gid: id(given.gid.as_ref(), &format!("{field}.gid"), cx) })
}

/// Checks the number of an account or group.
fn id(given: Option<&Located<u32>>, field: &str, cx: &mut Context<'_>) -> Option<u32> {
    let given = given?;
    if *given.value() > MAX_ID {
        let finding = Finding::error(Code::InvalidValue, "not a number of an account or group").found(format!("`{}`", given.value()));
        cx.report(finding.allowed([format!("0 to {MAX_ID}")]), given.origin, field);
    }
    Some(*given.value())
}

/// Returns one user.
pub(super) fn user(given: &Located<layer::User>, cx: &mut Context<'_>) -> Option<User> {
    let name = given.name.as_ref()?;
    let field = format!("systemConfig.users[{}]", name.value.0);
    if cx.is_placeholder(&name.value.0, name.origin, &field) {
        return None;
    }
    account_name(&name.value.0, name.origin, &field, "user", cx);
    let mut groups = Vec::new();
    for group in given.groups.iter().flatten() {
        let field = format!("{field}.groups");
        if !cx.is_left_open(&group.value.0, group.origin, &field) && !groups.contains(&group.value.0) {
            account_name(&group.value.0, group.origin, &field, "group", cx);
            groups.push(group.value.0.clone());
        }
    }
    let mut path = |value: &Option<Located<String>>, key: &str| {
        let value = value.as_ref().filter(|value| !value.value().is_empty())?;
        destination(value.value(), value.origin, &format!("{field}.{key}"), cx)
    };
    let (home, shell, startup_script) =
        (path(&given.home, "home"), path(&given.shell, "shell"), path(&given.startup_script, "startupScript"));
    if let (Some(script), Some(_)) = (&given.startup_script, &shell)
        && startup_script.is_some()
    {
        cx.error(Code::Contradiction, script.origin, &field, "`startupScript` replaces the login shell, and `shell` gives another one");
    }
    let primary_group = given.primary_group.as_ref().map(|group| {
        account_name(&group.value.0, group.origin, &format!("{field}.primaryGroup"), "group", cx);
        group.value.0.clone()
    });
    Some(User {
        name: name.value.0.clone(),
        password: password(given, &field, cx),
        // 0 is no limit, as it is where nothing is said; chage would take it for a password that expires at once.
        password_max_age_days: given.password_max_age.as_ref().map(|days| if *days.value() == 0 { NO_LIMIT } else { *days.value() }),
        startup_script,
        groups,
        uid: id(given.uid.as_ref(), &format!("{field}.uid"), cx),
        primary_group,
        sudo: given.sudo.as_ref().is_some_and(|sudo| *sudo.value()),
        home,
        shell,
        authorized_keys: authorized_keys(given, &field, cx),
    })
}

/// Checks a name against what the account files and tools of every distribution take.
pub(super) fn account_name(text: &str, origin: Origin, field: &str, what: &str, cx: &mut Context<'_>) {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = text.strip_suffix('$').unwrap_or(text).chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if !first || !rest || text.len() > 32 {
        let finding = Finding::error(Code::InvalidValue, format!("not a {what} name")).found(format!("`{text}`"));
        cx.report(finding.allowed(["a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32"]), origin, field);
    }
}

fn password(given: &layer::User, field: &str, cx: &mut Context<'_>) -> Password {
    let Some(password) = &given.password else { return Password::Locked };
    let field = format!("{field}.password");
    let text = &password.value.0;
    if text.is_empty() {
        cx.warn(password.origin, &field, "no password is set: the account is locked for passwords, never open without one");
        return Password::Locked;
    }
    if matches!(text.as_str(), "!" | "*" | "!!" | "!*") {
        return Password::Locked;
    }
    if super::placeholder(text) {
        let finding = Finding::error(Code::Placeholder, "the password is a placeholder that is not filled in");
        cx.report(finding.hint("write a password or its crypt hash, or give one with `${NAME}` and `--var`"), password.origin, &field);
        return Password::Locked;
    }
    if is_crypt_hash(text) {
        return Password::Hashed(text.clone());
    }
    if text.contains(['\n', '\0', ':']) && text.contains(['\n', '\0']) {
        cx.error(Code::InvalidValue, password.origin, &field, "a password is one line");
    }
    let hash = match given.hash_algo.as_ref().map(|algorithm| (*algorithm.value(), algorithm.origin)) {
        None => cx.provider.facts.password_hash,
        Some((HashName::Sha512, _)) => PasswordHash::Sha512,
        Some((HashName::Sha256, _)) => PasswordHash::Sha256,
        Some((HashName::Yescrypt, _)) => PasswordHash::Yescrypt,
        Some((HashName::Bcrypt | HashName::Md5, origin)) => {
            let message = "oic does not hash plain-text passwords this way";
            let finding = Finding::error(Code::InvalidValue, message).allowed(["sha512", "sha256", "yescrypt"]);
            cx.report(finding.hint("or give the finished hash as the password"), origin, &field.replace(".password", ".hash_algo"));
            PasswordHash::Sha512
        }
    };
    Password::Plain { text: text.clone(), hash }
}

/// Tells whether a text is a hash in the form of crypt(5).
fn is_crypt_hash(text: &str) -> bool {
    const METHODS: [&str; 10] = ["1", "2a", "2b", "2y", "5", "6", "7", "y", "gy", "sm3"];
    let method = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    let tail_ok = |tail: &str| tail.len() >= 20 && tail.chars().all(|c| c.is_ascii_alphanumeric() || "./$=,-".contains(c));
    method.is_some_and(|(method, tail)| METHODS.contains(&method) && tail_ok(tail))
}

fn authorized_keys(given: &layer::User, field: &str, cx: &mut Context<'_>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for (list, name) in [(&given.authorized_keys, "authorizedKeys"), (&given.ssh_authorized_keys, "sshAuthorizedKeys")] {
        let field = format!("{field}.{name}");
        for key in list.iter().flatten() {
            let text = key.value().trim();
            if !cx.is_placeholder(text, key.origin, &field) {
                check_key(text, key.origin, &field, cx);
                keys.push(text.to_owned());
            }
        }
    }
    let field = format!("{field}.sshAuthorizedKeysFiles");
    for file in given.authorized_keys_files.iter().flatten() {
        if cx.is_placeholder(file.value(), file.origin, &field) {
            continue;
        }
        let path = cx.sources.resolve_path(file.origin, file.value());
        if !path.exists() {
            missing_file(&path, file.origin, &field, cx);
            continue;
        }
        match read_text(&path) {
            Ok(text) => {
                for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                    check_key(line, file.origin, &field, cx);
                    keys.push(line.to_owned());
                }
            }
            Err(finding) => cx.report(*finding, file.origin, &field),
        }
    }
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys
}

/// Checks one line of `authorized_keys`.
fn check_key(text: &str, origin: Origin, field: &str, cx: &mut Context<'_>) {
    let mut words = text.split_ascii_whitespace();
    let is_type = |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start));
    if text.contains('\n') || !words.any(is_type) || words.next().is_none() {
        let finding = Finding::error(Code::InvalidValue, "not an SSH public key").found(format!("`{text}`"));
        cx.report(finding.allowed(["ssh-ed25519 AAAA… name@host"]), origin, field);
    }
}
