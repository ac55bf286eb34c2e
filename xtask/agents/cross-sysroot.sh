#!/bin/bash
# cross-sysroot.sh DEST [SUITE]
#
# Makes a private Rust in DEST that can build std for {x86_64,aarch64,riscv64gc}-unknown-linux-musl: Debian's rustc-web with the
# libraries it runs on, the sources of its std, and Debian's musl for each architecture. Nothing outside DEST is touched.
# Needs an x86_64 machine, apt-get, dpkg-deb, tar; the packages are verified by apt against Debian's archive keys.
# The mirror is the one that this machine's own apt uses, unless DEB_MIRROR names another.
set -euo pipefail

dest=$(realpath -m "$1")
suite=${2:-trixie}
apt=$dest/apt
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "cross-sysroot: $*" >&2
    exit 1
}

for program in apt-get apt-cache dpkg-deb tar; do
    command -v "$program" >/dev/null || fail "$program is not there"
done
[ -e "$keyring" ] || fail "$keyring is not there: install debian-archive-keyring"

# Its own apt: empty status, three architectures, one source.
mirror=${DEB_MIRROR:-$( (cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null || true) |
    sed -nE 's#^(URIs:|deb( +\[[^]]*\])?) +(https?://[^ ]+/debian)/?( .*)?$#\3#p' | head -n 1)}
[ -n "$mirror" ] || fail "no Debian mirror found: set DEB_MIRROR"
mkdir -p "$apt"/{etc/{apt.conf,preferences,sources.list}.d,state/lists/partial,cache/archives/partial} "$dest"/{debs,root,src}
: >"$apt/state/status"
echo "deb [signed-by=$keyring arch=amd64,arm64,riscv64] $mirror $suite main" >"$apt/etc/sources.list"
cat >"$apt/apt.conf" <<END
Dir::Etc "$apt/etc";
Dir::Etc::sourcelist "$apt/etc/sources.list";
Dir::Etc::sourceparts "$apt/etc/sources.list.d";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "$(id -un)";
APT::Architecture "amd64";
APT::Architectures {"amd64"; "arm64"; "riscv64";};
Acquire::Languages "none";
Acquire::Retries "4";
END
export APT_CONFIG=$apt/apt.conf
apt-get update -qq

# The compiler with what it needs to run, as apt resolves it from nothing, and the parts that are only unpacked.
stdlib=$(apt-cache depends libstd-rust-web-dev | awk '/Depends: libstd-rust-web-/ {print $2; exit}')
closure=$(apt-get -y --no-install-recommends --print-uris install "$stdlib" | awk "/^'/ {split(\$2, a, \"_\"); print a[1]}")
cd "$dest/debs"
# shellcheck disable=SC2086 # a list of names
apt-get download -qq $closure rustc-web libstd-rust-web-dev rust-web-src musl-dev:amd64 musl-dev:arm64
apt-get download -qq musl-dev:riscv64 || echo "no riscv64 in $suite"
for deb in *.deb; do
    case $deb in
        rust-web-src_*) dpkg-deb --fsys-tarfile "$deb" | tar -xf - -C "$dest/src" --wildcards './usr/src/rustc-*/library' ;;
        musl-dev_*) mkdir -p "$dest/musl/$deb" && dpkg -x "$deb" "$dest/musl/$deb" ;;
        *) dpkg -x "$deb" "$dest/root" ;;
    esac
done
rm -rf "$dest/debs"

usr=$dest/root/usr
mkdir -p "$usr/lib/rustlib/src/rust"
ln -sfnr "$(echo "$dest"/src/usr/src/rustc-*/library)" "$usr/lib/rustlib/src/rust/library"
for pair in x86_64:amd64 aarch64:arm64 riscv64gc:riscv64; do
    musl=$(echo "$dest"/musl/*_"${pair#*:}".deb/usr/lib/*-linux-musl)
    [ -d "$musl" ] || continue
    contained=$usr/lib/rustlib/${pair%:*}-unknown-linux-musl/lib/self-contained
    mkdir -p "$contained"
    cp "$musl"/{crt1,Scrt1,rcrt1,crti,crtn}.o "$musl"/lib*.a "$contained"
    # The linker asks for these and is content with empty archives.
    for empty in crtbegin.o crtbeginS.o crtend.o crtendS.o libunwind.a; do
        printf '!<arch>\n' >"$contained/$empty"
    done
done
rm -rf "$dest/musl"

# Started through its own loader: this machine's glibc may be older. It finds everything from its own place, so that the folder can be
# reached under another name. Written last: it marks the folder as complete.
loader=$(cd "$dest" && find root -name ld-linux-x86-64.so.2 -path '*x86_64-linux-gnu*' | head -n 1)
[ -n "$loader" ] || fail "the packages brought no loader"
cat >"$dest/rustc.new" <<END
#!/bin/sh
here=\${0%/*}
exec "\$here/$loader" --library-path "\$here/root/usr/lib/x86_64-linux-gnu:\$here/root/lib/x86_64-linux-gnu" \\
    "\$here/root/usr/bin/rustc" --sysroot "\$here/root/usr" "\$@"
END
chmod +x "$dest/rustc.new"
"$dest/rustc.new" -V
mv "$dest/rustc.new" "$dest/rustc"
