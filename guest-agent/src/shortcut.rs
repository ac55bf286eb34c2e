//! Lines of the target's scripts that start programs for what a shell knows by itself.
//!
//! Each shortcut is a line as packages have it and lines that do the same with fewer programs, or with the same programs where the shell
//! cannot tell. A script with such lines is covered by a copy that has them replaced while it runs; a script whose lines are
//! others runs as it is.

/// A script and what is shorter in it.
#[derive(Debug)]
pub struct Shortened {
    /// Its path in the target.
    pub path: &'static str,
    /// Lines, and what replaces them. Each is replaced where it occurs, and all are independent of each other.
    pub lines: &'static [(&'static str, &'static str)],
}

/// What the package asks itself about every certificate: four processes for each of 150, although both lists are empty at first.
pub const CERTIFICATES: Shortened = Shortened {
    path: "/var/lib/dpkg/info/ca-certificates.config",
    lines: &[
        (
            r#"   if (echo "$CERTS_DISABLED" | grep -F -q -x "$crt") > /dev/null 2>&1; then"#,
            r#"   if test -n "$CERTS_DISABLED" && (echo "$CERTS_DISABLED" | grep -F -q -x "$crt") > /dev/null 2>&1; then"#,
        ),
        (
            r#"   elif (echo "$CERTS_TRUST" | grep -F -q -x "$crt") > /dev/null 2>&1; then"#,
            r#"   elif test -n "$CERTS_TRUST" && (echo "$CERTS_TRUST" | grep -F -q -x "$crt") > /dev/null 2>&1; then"#,
        ),
    ],
};

/// How initramfs-tools copies a file: a dozen processes for each to make a path canonical that is so already, to ask again where `/bin`
/// leads, to make folders that are there, and to look for variants of libraries that their names do not speak of. And one look at the names
/// of all libraries for nine of them, which would make an initramfs depend on every library.
pub const INITRAMFS: Shortened = Shortened {
    path: "/usr/share/initramfs-tools/hook-functions",
    lines: &[
        (
            r#"	target="$(realpath -ms "/${target}")" || return 2"#,
            r#"	case "/${target#/}" in
	*//*|*/./*|*/../*|*/.|*/..|*/) target="$(realpath -ms "/${target}")" || return 2 ;;
	*) target="/${target#/}" ;;
	esac"#,
        ),
        (
            r#"		[ "$(readlink -f /bin)" = /usr/bin ] && src="/usr${src}""#,
            r#"		[ "${oic_bin:=$(readlink -f /bin)}" = /usr/bin ] && src="/usr${src}""#,
        ),
        (r#"	mkdir -p "${DESTDIR}/${target%/*}""#, r#"	[ -d "${DESTDIR}/${target%/*}" ] || mkdir -p "${DESTDIR}/${target%/*}""#),
        (
            r#"	if [ "${link_target}" != "$(realpath -s "$src")" ]; then"#,
            r#"	case "${src}" in
	[!/]*|*//*|*/./*|*/../*|*/.|*/..|*/) oic_src="$(realpath -s "$src")" ;;
	*) oic_src="${src}" ;;
	esac
	if [ "${link_target}" != "${oic_src}" ]; then"#,
        ),
        (
            r#"		for library in "${libdir}"/libgcc_s.so.[1-9]; do"#,
            r#"		for library in "${libdir}"/libgcc_s.so.1 "${libdir}"/libgcc_s.so.2 "${libdir}"/libgcc_s.so.3 "${libdir}"/libgcc_s.so.4 \
			"${libdir}"/libgcc_s.so.5 "${libdir}"/libgcc_s.so.6 "${libdir}"/libgcc_s.so.7 "${libdir}"/libgcc_s.so.8 "${libdir}"/libgcc_s.so.9; do"#,
        ),
        (
            r#"		nonoptlib=$(echo "${x}" | sed -e 's#/lib/\([^/]*/\)\?\(tls\|i686\|sse2\|neon\|vfp\).*/\(lib.*\)#/lib/\1\3#')"#,
            r#"		case "${x}" in
		*tls*|*i686*|*sse2*|*neon*|*vfp*|*\\*) nonoptlib=$(echo "${x}" | sed -e 's#/lib/\([^/]*/\)\?\(tls\|i686\|sse2\|neon\|vfp\).*/\(lib.*\)#/lib/\1\3#') ;;
		*) nonoptlib="${x}" ;;
		esac"#,
        ),
        (
            r#"		nonoptlib=$(echo "${nonoptlib}" | sed -e 's#-linux-gnu/\(tls\|i686\|sse2\|neon\|vfp\).*/\(lib.*\)#-linux-gnu/\2#')"#,
            r#"		case "${nonoptlib}" in
		*tls*|*i686*|*sse2*|*neon*|*vfp*|*\\*) nonoptlib=$(echo "${nonoptlib}" | sed -e 's#-linux-gnu/\(tls\|i686\|sse2\|neon\|vfp\).*/\(lib.*\)#-linux-gnu/\2#') ;;
		esac"#,
        ),
    ],
};

/// What dracut looks for in each of two dozen files of udev's rules: a `sed` for each of five words that most of them do not have, and a
/// `grep` for each group.
pub const DRACUT: Shortened = Shortened {
    path: "/usr/lib/dracut/dracut-init.sh",
    lines: &[
        (
            r#"    for _prog in $(sed -nr 's/.*PROGRAM==?"([^ "]+).*/\1/p' "$1"); do"#,
            r#"    local oic_rules="" oic_found=""; IFS= read -r -d '' oic_rules < "$1"
    [[ $oic_rules != *PROGRAM* ]] || oic_found=$(sed -nr 's/.*PROGRAM==?"([^ "]+).*/\1/p' "$1")
    for _prog in $oic_found; do"#,
        ),
        (
            r#"    for _prog in $(sed -nr 's/.*RUN[+=]=?"([^ "]+).*/\1/p' "$1"); do"#,
            r#"    local oic_rules="" oic_found=""; IFS= read -r -d '' oic_rules < "$1"
    [[ $oic_rules != *RUN* ]] || oic_found=$(sed -nr 's/.*RUN[+=]=?"([^ "]+).*/\1/p' "$1")
    for _prog in $oic_found; do"#,
        ),
        (
            r#"    for _prog in $(sed -nr 's/.*IMPORT\{program\}==?"([^ "]+).*/\1/p' "$1"); do"#,
            r#"    local oic_rules="" oic_found=""; IFS= read -r -d '' oic_rules < "$1"
    [[ $oic_rules != *'IMPORT{program}'* ]] || oic_found=$(sed -nr 's/.*IMPORT\{program\}==?"([^ "]+).*/\1/p' "$1")
    for _prog in $oic_found; do"#,
        ),
        (
            r#"    for i in $(sed -nr 's/.*OWNER=?"([^ "]+).*/\1/p' "$1"); do"#,
            r#"    local oic_rules="" oic_found=""; IFS= read -r -d '' oic_rules < "$1"
    [[ $oic_rules != *OWNER* ]] || oic_found=$(sed -nr 's/.*OWNER=?"([^ "]+).*/\1/p' "$1")
    for i in $oic_found; do"#,
        ),
        (
            r#"    for i in $(sed -nr 's/.*GROUP=?"([^ "]+).*/\1/p' "$1"); do"#,
            r#"    local oic_rules="" oic_found=""; IFS= read -r -d '' oic_rules < "$1"
    [[ $oic_rules != *GROUP* ]] || oic_found=$(sed -nr 's/.*GROUP=?"([^ "]+).*/\1/p' "$1")
    for i in $oic_found; do"#,
        ),
        (
            r#"        if ! grep -Eq "^$i:" "$initdir/etc/group" 2> /dev/null; then"#,
            r#"        local oic_known=""
        case "$i" in
            *[!abcdefghijklmnopqrstuvwxyz0123456789_-]*) oic_known=$(grep -E "^$i:" "$initdir/etc/group" 2> /dev/null) ;;
            *)
                { IFS= read -r -d '' oic_known < "$initdir/etc/group"; } 2> /dev/null
                [[ $'\n'$oic_known == *$'\n'"$i:"* ]] || oic_known=""
                ;;
        esac
        if [[ ! $oic_known ]]; then"#,
        ),
        (
            r#"    if grep -q -F initqueue "$1"; then"#,
            r#"    local oic_rules=""; IFS= read -r -d '' oic_rules < "$1"
    if [[ $oic_rules == *initqueue* ]]; then"#,
        ),
    ],
};

/// How dracut asks whether a script that it has read has a function, in a shell of its own.
pub const DRACUT_FUNCTIONS: Shortened = Shortened {
    path: "/usr/lib/dracut/dracut-functions.sh",
    lines: &[(r#"    [[ "$(type -t "$1")" == "function" ]]"#, r#"    declare -F "$1" > /dev/null"#)],
};

/// The generator whose one look at all of `/etc` is for [`linker_files`].
pub const GENERATOR: &str = "/usr/sbin/mkinitramfs";
/// How the names that it looks for begin. The host takes new ones for a reason to make an initramfs anew.
const LINKER: &str = "ld.so.conf";

/// Returns the generator with the names that it would find in `/etc`, so that it need not list that folder: whether an initramfs can be
/// used again would otherwise depend on every name there. None when it has no such line, or names that a shell reads differently.
#[must_use]
pub fn linker_files(script: &str, etc: &[String]) -> Option<String> {
    const LINE: &str = "cp -pPr /etc/ld.so.conf* \"$DESTDIR\"/etc/\n";
    let names: Vec<&String> = etc.iter().filter(|name| name.starts_with(LINKER)).collect();
    let plain = names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    let (before, after) = script.split_once(LINE).filter(|_| plain && !names.is_empty())?;
    let paths: String = names.iter().map(|name| format!(" /etc/{name}")).collect();
    Some(format!("{before}cp -pPr{paths} \"$DESTDIR\"/etc/\n{after}"))
}

impl Shortened {
    /// Returns the script with shorter lines; none when it has none of them.
    #[must_use]
    pub fn of(&self, script: &str) -> Option<String> {
        let mut found = false;
        let mut shorter = String::with_capacity(script.len() + 1024);
        for line in script.split_inclusive('\n') {
            let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
            let replaced = self.lines.iter().find(|(old, _)| *old == text);
            found |= replaced.is_some();
            shorter.push_str(replaced.map_or(text, |(_, new)| new));
            shorter.push_str(end);
        }
        found.then_some(shorter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_replaced_and_nothing_else() {
        let script = Shortened { path: "/x", lines: &[("  slow", "  quick\n  and"), ("gone", "other")] };
        assert_eq!(script.of("a\n  slow\nslow\n  slow # why\n  slow").unwrap(), "a\n  quick\n  and\nslow\n  slow # why\n  quick\n  and");
        assert_eq!(script.of("a\n slow\n"), None);
    }

    #[test]
    fn the_linkers_files_are_named() {
        let script = "a\ncp -pPr /etc/ld.so.conf* \"$DESTDIR\"/etc/\nb\n";
        let etc = ["fstab", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"].map(str::to_owned);
        let expected = "a\ncp -pPr /etc/ld.so.conf /etc/ld.so.conf.d \"$DESTDIR\"/etc/\nb\n";
        assert_eq!(linker_files(script, &etc).unwrap(), expected);
        assert_eq!(linker_files(script, &etc[..2]), None);
        assert_eq!(linker_files("other\n", &etc), None);
        assert_eq!(linker_files(script, &["ld.so.conf $(x)".to_owned()]), None);
    }

    /// Runs a line and its shortcut in a shell and compares a variable afterwards.
    fn alike(line: usize, before: &str, variable: &str) -> String {
        let run = |text: &str| {
            let script = format!("f() {{ {before}\n{text}\n}}\nf; echo \"$? ${variable}\"");
            crate::exec::output_of("sh", &["-c", &script])
        };
        let (old, new) = INITRAMFS.lines[line];
        let (long, short) = (run(old), run(new));
        assert_eq!(long, short, "{before}");
        short
    }

    /// What dracut does with udev's rules and groups, with a target's lines and with ours.
    #[test]
    fn udev_rules_are_read_as_the_programs_read_them() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().display().to_string();
        for (name, text) in [
            (
                "one.rules",
                "PROGRAM==\"a b\", RUN+=\"x\"\nPROGRAM=\"c\", GROUP=\"disk\"\nGROUP=\"wheel\", OWNER=\"root\"\nx RUN{builtin}+=\"y\"",
            ),
            ("two.rules", "# initqueue\nGROUP=\"disk\", IMPORT{program}=\"*\"\nIMPORT{program}==\"z q\"\nGROUP=\"a.c\"\nOWNER\"who\"\n"),
            ("none.rules", ""),
            ("group", "root:x:0:\nadisk:x:1:\nabc:x:2:\ntape:x:3:"),
        ] {
            std::fs::write(scratch.path().join(name), text).unwrap();
        }
        std::fs::create_dir(scratch.path().join("etc")).unwrap();
        std::fs::rename(scratch.path().join("group"), scratch.path().join("etc/group")).unwrap();
        let run = |script: &str| crate::exec::output_of("bash", &["-c", &format!("cd {folder}; initdir={folder}\n{script}")]);
        let mut seen = String::new();
        for (old, new) in DRACUT.lines {
            for rules in ["one.rules", "two.rules", "none.rules"] {
                let alike = |line: &str| match old.trim_start() {
                    is if is.contains("$i:") => ["disk", "tape", "root", "wheel", "a.c", "x"]
                        .map(|group| run(&format!("f() {{ local i={group}\n{line}\n echo missing $i; fi; }}; f {rules}")))
                        .concat(),
                    is if is.starts_with("if") => run(&format!("f() {{ {line}\n echo yes; fi; }}; f {rules}")),
                    is => {
                        let variable = is.split(' ').nth(1).unwrap();
                        run(&format!("f() {{ local {variable}\n{line}\n echo \"<${variable}>\"; done; }}; f {rules}"))
                    }
                };
                let (long, short) = (alike(old), alike(new));
                assert_eq!(long, short, "{old} {rules}");
                seen.push_str(&short);
            }
        }
        for word in ["<a>", "<x>", "<z>", "<root>", "<disk>", "missing disk", "yes"] {
            assert!(seen.contains(word), "{word}: {seen}");
        }
        for name in ["true", "f", "if", "nothing"] {
            let (old, new) = DRACUT_FUNCTIONS.lines[0];
            let answer = |line: &str| run(&format!("f() {{ :; }}\nis_func() {{\n{line}\n}}\nis_func {name}; echo $?"));
            assert_eq!(answer(old), answer(new), "{name}");
        }
    }

    #[test]
    fn paths_are_as_the_programs_make_them() {
        for path in [
            "/usr/bin/x",
            "usr/bin/x",
            "//usr/bin/x",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/a/.",
            "/a/..",
            "/a/",
            "/",
            "",
            "/a b/.c",
            "/..",
            "/..a/b.",
        ] {
            alike(0, &format!("target='{path}'"), "target");
        }
        for path in [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/tls/libc.so.6",
            "/lib/x86_64-linux-gnu/sse2/libm.so.6",
            "/usr/lib/libgnutls.so.30",
            "/lib/a\\\\b",
        ] {
            alike(5, &format!("x='{path}'"), "nonoptlib");
            alike(6, &format!("nonoptlib='{path}'"), "nonoptlib");
        }
    }
}
