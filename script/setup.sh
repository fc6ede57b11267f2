# For script/run and script/test: sane surroundings, and the Debian packages that are missing.
# Works where the environment is empty; sourced from the top of the checkout.

export PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
if [ -z "${HOME:-}" ]; then
    HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
    export HOME
fi
export LC_ALL="${LC_ALL:-C.UTF-8}"

say() { printf '%s\n' "$*" >&2; }

# Cargo as rustup installs it may be outside PATH.
find_cargo() {
    command -v cargo >/dev/null 2>&1 && return
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    export PATH
    command -v cargo >/dev/null 2>&1 && return
    say "cargo is missing: Gepok needs Rust 1.88 or later, see https://rustup.rs"
    exit 1
}

# Installs what is missing of the packages for the purposes named: build, run, test, check.
install_packages() {
    wanted=
    for purpose in "$@"; do
        wanted="$wanted $(sed -n "s/^$purpose //p" script/packages | tr '\n' ' ')"
    done
    if ! command -v dpkg-query >/dev/null 2>&1; then
        say "This is no Debian system. Install what corresponds to these packages, if you have not:"
        say " $wanted"
        return 0
    fi
    missing=
    for package in $wanted; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -z "$missing" ] && return 0

    as_root=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            say "Install these packages as root, then try again:"
            say "  apt-get install$missing"
            exit 1
        fi
        as_root=sudo
    fi
    say "Installing:$missing"
    # A package list that is new enough spares the update.
    # shellcheck disable=SC2086
    apt_install $missing || {
        $as_root apt-get -q update >&2 && apt_install $missing
    } || {
        say "These packages could not be installed:$missing"
        exit 1
    }
}

apt_install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" >&2 </dev/null
}
