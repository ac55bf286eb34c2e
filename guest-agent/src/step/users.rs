//! Creates and changes accounts with the target's own tools: what they write differs between distributions.

use oic_protocol::{AccountPassword, AgentError, GroupAccount, UserAccount};

use super::accounts;
use crate::{exec::Program, failure, rootfs::Ownership, runner::Context};

/// Shell of an account that the plan makes and names none for.
const DEFAULT_SHELL: &str = "/bin/bash";

/// Makes every group.
///
/// # Errors
/// Fails with the tool that refused, or when a group exists with another number.
pub fn run_groups(groups: &[GroupAccount], context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    for group in groups {
        check_texts(&group.name, std::iter::once(group.name.as_str()))?;
        match (accounts::find_group(&context.target.rootfs, &group.name)?, group.gid) {
            (Some(gid), Some(wanted)) if gid != wanted => {
                return Err(failure::post_condition(format!("the group {} has the number {wanted}", group.name), format!("it has {gid}")));
            }
            (Some(_), _) => {}
            (None, gid) => drop(group_program(&group.name, gid).check(context.shell)?),
        }
    }
    Ok(())
}

fn group_program(name: &str, gid: Option<u32>) -> Program {
    let gid = gid.map(|gid| gid.to_string());
    Program::new(["groupadd"]).args(gid.iter().flat_map(|gid| ["--gid", gid])).args(["--", name])
}

/// Makes every account what the plan says.
///
/// # Errors
/// Fails with the tool that refused, or when a home folder is missing that keys belong into.
pub fn run(users: &[UserAccount], context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    for (index, user) in users.iter().enumerate() {
        context.shell.events.progress(index, users.len(), &user.name);
        make(user, context)?;
    }
    Ok(())
}

/// Makes one account.
fn make(user: &UserAccount, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    check(user)?;
    let rootfs = &context.target.rootfs;
    let exists = accounts::find_user(rootfs, &user.name)?.is_some();
    for group in user.groups.iter().chain(&user.primary_group) {
        if accounts::find_group(rootfs, group)?.is_none() {
            group_program(group, None).check(context.shell)?;
        }
    }
    for program in account_programs(user, exists) {
        program.check(context.shell)?;
    }
    if user.authorized_keys.is_empty() {
        return Ok(());
    }
    write_keys(user, context)
}

/// Refuses what a tool would take for an option or another line of its input. The host has validated it: this is the last door.
fn check(user: &UserAccount) -> Result<(), AgentError> {
    let hash = if let AccountPassword::Hash(hash) = &user.password { hash.as_str() } else { "" };
    let texts = std::iter::once(user.name.as_str()).chain(user.groups.iter().map(String::as_str)).chain([hash]);
    let texts = texts.chain(user.home.as_deref()).chain(user.shell.as_deref()).chain(user.primary_group.as_deref());
    check_texts(&user.name, texts)
}

fn check_texts<'a>(name: &str, mut texts: impl Iterator<Item = &'a str>) -> Result<(), AgentError> {
    let odd = |text: &str| text.starts_with('-') || text.contains([':', '\n', '\0']);
    if name.is_empty() || texts.any(odd) {
        return Err(failure::invalid_plan(format!("the account `{name}` has a field with a character that account files cannot hold")));
    }
    Ok(())
}

/// Lowers an account to command lines. The hash goes to standard input: arguments are for everybody to see.
fn account_programs(user: &UserAccount, exists: bool) -> Vec<Program> {
    let groups = user.groups.join(",");
    let uid = user.uid.map(|uid| uid.to_string());
    let mut options = Vec::new();
    if let Some(uid) = &uid {
        options.extend(["--uid", uid]);
    }
    if let Some(group) = &user.primary_group {
        options.extend(["--gid", group]);
    }
    if let Some(home) = &user.home {
        options.extend(["--home-dir", home]);
    }
    // What useradd takes by itself differs between distributions.
    if let Some(shell) = user.shell.as_deref().or_else(|| (!exists).then_some(DEFAULT_SHELL)) {
        options.extend(["--shell", shell]);
    }
    let mut programs = Vec::new();
    if exists {
        if !groups.is_empty() {
            options.extend(["--append", "--groups", &groups]);
        }
        if !options.is_empty() {
            // usermod calls the folder by another name.
            let options = options.into_iter().map(|option| if option == "--home-dir" { "--home" } else { option });
            programs.push(Program::new(["usermod"]).args(options).args(["--", &user.name]));
        }
    } else {
        if !groups.is_empty() {
            options.extend(["--groups", &groups]);
        }
        programs.push(Program::new(["useradd", "--create-home"]).args(options).args(["--", &user.name]));
    }
    programs.extend(password_program(user));
    if let Some(days) = user.password_max_age_days {
        programs.push(Program::new(["chage", "--maxdays", &days.to_string(), "--", &user.name]));
    }
    programs
}

/// Returns what sets the password field. useradd leaves a new account locked.
fn password_program(user: &UserAccount) -> Option<Program> {
    let field = match &user.password {
        AccountPassword::Locked => "!",
        AccountPassword::Hash(hash) => hash,
        AccountPassword::Keep => return None,
    };
    Some(Program::new(["chpasswd", "--encrypted"]).input(format!("{}:{field}\n", user.name).into_bytes()))
}

/// Writes the keys where sshd looks for them, with the modes that it insists on.
fn write_keys(user: &UserAccount, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let rootfs = &context.target.rootfs;
    let account = accounts::find_user(rootfs, &user.name)?;
    let account = account.ok_or_else(|| failure::post_condition(format!("the user {} exists in the target", user.name), "no such user"))?;
    let home = account.home.trim_end_matches('/');
    if !home.starts_with('/') {
        return Err(failure::post_condition(format!("the user {} has a home folder", user.name), format!("`{}`", account.home)));
    }
    if !rootfs.exists(home) {
        let mode = if account.ownership == Ownership::ROOT { 0o700 } else { 0o755 };
        rootfs.write_folder(home, mode, account.ownership)?;
    }
    rootfs.write_folder(&format!("{home}/.ssh"), 0o700, account.ownership)?;
    let keys = keys_text(&user.authorized_keys);
    rootfs.write_file(&format!("{home}/.ssh/authorized_keys"), 0o600, account.ownership, &mut keys.as_bytes()).map(drop)
}

/// One key per line.
fn keys_text(keys: &[String]) -> String {
    keys.iter().map(|key| format!("{}\n", key.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserAccount {
        UserAccount {
            name: name.into(),
            password: AccountPassword::Keep,
            home: None,
            shell: None,
            groups: Vec::new(),
            uid: None,
            primary_group: None,
            password_max_age_days: None,
            authorized_keys: Vec::new(),
        }
    }

    fn lines(user: &UserAccount, exists: bool) -> Vec<String> {
        account_programs(user, exists).iter().map(|program| program.argv().join(" ")).collect()
    }

    #[test]
    fn a_new_account_is_added_and_one_that_exists_is_changed() {
        let ann = UserAccount {
            home: Some("/srv/ann".into()),
            shell: Some("/bin/bash".into()),
            groups: vec!["sudo".into(), "video".into()],
            uid: Some(1200),
            primary_group: Some("staff".into()),
            password_max_age_days: Some(90),
            password: AccountPassword::Locked,
            ..user("ann")
        };
        assert_eq!(
            lines(&ann, false),
            [
                "useradd --create-home --uid 1200 --gid staff --home-dir /srv/ann --shell /bin/bash --groups sudo,video -- ann",
                "chpasswd --encrypted",
                "chage --maxdays 90 -- ann"
            ]
        );
        assert_eq!(
            lines(&ann, true),
            [
                "usermod --uid 1200 --gid staff --home /srv/ann --shell /bin/bash --append --groups sudo,video -- ann",
                "chpasswd --encrypted",
                "chage --maxdays 90 -- ann"
            ]
        );
        assert_eq!(lines(&user("bob"), false), ["useradd --create-home --shell /bin/bash -- bob"]);
        assert!(lines(&user("root"), true).is_empty());
    }

    #[test]
    fn a_group_has_the_number_that_is_asked_for() {
        assert_eq!(group_program("staff", Some(70)).argv().join(" "), "groupadd --gid 70 -- staff");
        assert_eq!(group_program("staff", None).argv().join(" "), "groupadd -- staff");
    }

    #[test]
    fn a_hash_is_never_an_argument() {
        let root = UserAccount { password: AccountPassword::Hash("$6$salt$secret".into()), ..user("root") };
        let programs = account_programs(&root, true);
        assert_eq!(programs.len(), 1);
        assert!(!programs[0].argv().join(" ").contains("secret"));
        assert_eq!(programs[0].input_bytes(), Some(&b"root:$6$salt$secret\n"[..]));
        let locked = UserAccount { password: AccountPassword::Locked, ..user("root") };
        assert_eq!(account_programs(&locked, true)[0].input_bytes(), Some(&b"root:!\n"[..]));
    }

    #[test]
    fn fields_that_would_become_something_else_are_refused() {
        assert!(check(&user("ann")).is_ok());
        for name in ["", "-x", "a:b", "a\nroot"] {
            assert!(check(&user(name)).is_err(), "{name:?}");
        }
        assert!(check(&UserAccount { password: AccountPassword::Hash("x\nroot:y".into()), ..user("ann") }).is_err());
        assert!(check(&UserAccount { groups: vec!["--root".into()], ..user("ann") }).is_err());
    }

    #[test]
    fn each_key_is_one_line() {
        assert_eq!(keys_text(&["ssh-ed25519 A x\n".into(), "ssh-rsa B".into()]), "ssh-ed25519 A x\nssh-rsa B\n");
    }
}
