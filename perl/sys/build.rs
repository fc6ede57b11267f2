//! Compiles the C shim for the perl that Gepok is built for, and tells dependents how to link that perl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What perl says about itself, one line each. `ExtUtils::Embed` is what perlembed names for it.
const ASK: &str = r#"
use Config; use ExtUtils::Embed;
print "$]\n", ($Config{usemultiplicity} || $Config{useithreads} ? 1 : 0), "\n";
print "$Config{archlibexp}/CORE\n";
sub line { my $text = join ' ', @_; $text =~ s/\s+/ /g; "$text\n" }
print line($Config{ccflags}), line(ldopts(1));
"#;

const NEEDS_PERL: &str = "Gepok needs perl 5.26 or later with its standard modules (Debian: apt-get install perl libperl-dev); \
     the variable PERL names another perl than the one in PATH";

fn main() {
    if let Err(message) = build() {
        // One readable line instead of a panic's trace.
        eprintln!("\n{message}\n");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    println!("cargo:rerun-if-env-changed=PERL");
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=build.rs");

    let perl = std::env::var("PERL").unwrap_or_else(|_| "perl".into());
    let facts = ask(&perl)?;
    let headers = Path::new(&facts.headers);
    if !headers.join("perl.h").is_file() {
        return Err(format!(
            "{perl} has no C headers in {} (Debian: apt-get install libperl-dev)",
            headers.display()
        ));
    }
    compile(&facts)?;
    regenerate()?;

    println!("cargo:multiplicity={}", u8::from(facts.multiplicity));
    println!("cargo:ldopts={}", facts.ldopts);
    Ok(())
}

struct Facts {
    multiplicity: bool,
    headers: String,
    ccflags: String,
    ldopts: String,
}

fn ask(perl: &str) -> Result<Facts, String> {
    let output = Command::new(perl)
        .args(["-e", ASK])
        .output()
        .map_err(|error| format!("cannot run {perl}: {error}. {NEEDS_PERL}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}\n{NEEDS_PERL}", said.trim()));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = said.lines().map(|line| line.trim().to_owned());
    let mut next = || lines.next().ok_or_else(|| NEEDS_PERL.to_owned());
    let version: f64 = next()?.parse().map_err(|_| NEEDS_PERL.to_owned())?;
    if version < 5.026 {
        return Err(format!("{perl} is version {version}. {NEEDS_PERL}"));
    }
    Ok(Facts {
        multiplicity: next()? == "1",
        headers: next()?,
        ccflags: next()?,
        ldopts: next()?,
    })
}

fn compile(facts: &Facts) -> Result<(), String> {
    let mut cc = cc::Build::new();
    for flag in facts.ccflags.split(' ').filter(|flag| !flag.is_empty()) {
        cc.flag(flag);
    }
    let mut sources: Vec<PathBuf> = std::fs::read_dir("c")
        .map_err(|error| format!("cannot list the C files: {error}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    cc.include("c")
        // As a system's folder: perl's own headers are not ours to mend.
        .flag(format!("-isystem{}", facts.headers))
        .warnings(true)
        .extra_warnings(true)
        .flag_if_supported("-Wno-cast-function-type")
        .files(&sources);
    cc.try_compile("gepok_perl").map_err(|error| {
        format!("{error}\nIs a C compiler there (Debian: apt-get install gcc libc6-dev)?")
    })
}

#[cfg(not(feature = "regenerate"))]
fn regenerate() -> Result<(), String> {
    Ok(())
}

/// Rewrites src/bindings.rs, and tells the drift test whether it had been current.
#[cfg(feature = "regenerate")]
fn regenerate() -> Result<(), String> {
    let bindings = bindgen::Builder::default()
        .header("c/shim.h")
        .allowlist_item("(gp|GP)_.*")
        .rustified_enum("gp_outcome|gp_sent")
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .layout_tests(false)
        .disable_header_comment()
        .raw_line("// Made from c/shim.h by bindgen: cargo build -p perl-sys --features regenerate")
        .generate()
        .map_err(|error| format!("bindgen: {error}"))?
        .to_string();
    let path = Path::new("src/bindings.rs");
    let current = std::fs::read_to_string(path).is_ok_and(|old| old == bindings);
    if !current {
        std::fs::write(path, bindings).map_err(|error| format!("src/bindings.rs: {error}"))?;
    }
    println!("cargo:rustc-env=BINDINGS_WERE_CURRENT={current}");
    Ok(())
}
