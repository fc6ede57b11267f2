//! The documentation of every option, made of the table: the POD of Gepok::Options, and of the command's manual page.

use std::fmt::Write as _;

use super::command::{COMMANDS, PRECOMPRESS};
use super::help::{PRECOMPRESS_TEXT, plain};
use super::table::{self, CATEGORIES, Entry, Opt, Preset};
use super::{value, variables};

/// The whole text of `Gepok/Options.pod`.
pub fn pod() -> String {
    let mut pod = String::from(
        "=encoding UTF-8\n\n\
         =for comment This file is made of the option table in src/config/table; change it there.\n\n\
         =head1 NAME\n\nGepok::Options - every option of Gepok\n\n\
         =head1 SYNOPSIS\n\n  \
         plackup -s Gepok --http-ports :8081,:8082 --max-workers 10 app.psgi\n\n  \
         Gepok->new(http_ports => [8081, 8082], max_workers => 10)->run($app);\n\n  \
         gepok --http-ports :8081,:8082 --max-workers 10 app.psgi\n\n\
         =head1 DESCRIPTION\n\n\
         The names are the attributes of L<Gepok>. On command lines they may be written with C<-> for C<_>, \
         with one dash or two in front, and with C<=> or a blank before the value. \
         A flag is turned on by C<--enable-NAME> and off by C<--disable-NAME>; C<gepok> takes C<--NAME> and \
         C<--no-NAME> too. From Perl a list is an array reference, and C<''> or 0 is a flag's no.\n\n\
         An unknown name is a warning that tells the nearest known one; the command C<gepok> refuses it.\n\n",
    );
    for category in CATEGORIES {
        let _ = write!(pod, "=head1 {}\n\n=over\n\n", category.title.to_uppercase());
        for option in category.options {
            item(&mut pod, option);
        }
        pod += "=back\n\n";
    }
    pod += "=head1 SEE ALSO\n\nL<Gepok>, L<Plack::Handler::Gepok>\n\n=cut\n";
    pod
}

/// The whole text of `gepok.pod`, which becomes gepok(1).
pub fn command() -> String {
    let mut pod = String::from(
        "=encoding UTF-8\n\n\
         =for comment This file is made of the option table in src/config/table; change it there.\n\n\
         =head1 NAME\n\ngepok - PSGI server: serves an app over HTTP\n\n\
         =head1 SYNOPSIS\n\n  \
         gepok [options] [app.psgi]\n  \
         gepok [options] -e 'sub { [200, [], [\"hello\\n\"]] }'\n  \
         gepok stop|restart|reload|status [--pid-path PATH] [--name NAME]\n  \
         gepok check [--print] [options] [app.psgi]\n  \
         gepok precompress [options] DIR ...\n\n\
         =head1 DESCRIPTION\n\n\
         Serves the app of a F<.psgi> file, F<app.psgi> where none is named, on port 5000 where no option names an \
         address. It brings its own perl interpreter and needs no Plack.\n\n\
         Options may be written with C<_> for C<->, with one dash or two in front, and with C<=> or a blank before \
         the value. Flags are turned off by C<--no-NAME> or C<--disable-NAME>. An unknown option is refused.\n\n\
         An option that is not typed has the value of the environment variable C<GEPOK_> and its name in capitals \
         (C<GEPOK_MAX_WORKERS>), else the one in the file of C<--config>, else its default. C<PORT> and \
         C<WEB_CONCURRENCY> stand for C<port> and C<max_workers>, between environment and file. \
         F<docs/configuration.md> tells all about it.\n\n\
         =head1 COMMANDS\n\n\
         A first word that is one of these is no app. C<check> starts nothing; the others say what to do with a \
         server that runs. It is the one that holds the pid file: C<--pid-path>, or the one that a server of that C<--name> uses in the background. \
         Other options are taken and not looked at, so that those of the start can be given again.\n\n=over\n\n",
    );
    for (_, word, text) in COMMANDS {
        let _ = write!(pod, "=item {word}\n\n{}.\n\n", sentence(text));
    }
    let (word, arguments, _) = PRECOMPRESS;
    let _ = write!(
        pod,
        "=back\n\n=head1 COMPRESSED VARIANTS\n\n=over\n\n=item {word} I<{arguments}>\n\n{PRECOMPRESS_TEXT} \
         The options C<--compress> (here all codings, where it is not given), C<--compress-types>, C<--compress-min-length>, \
         C<--mime-types> and C<--hidden> choose the codings and the files. The last line says how much was written. The exit status \
         is 1 if some file could not be compressed.\n\n=back\n\n"
    );
    for category in CATEGORIES {
        let mut options = category
            .options
            .iter()
            .filter(|option| option.taken_by(Entry::Binary))
            .peekable();
        if options.peek().is_some() {
            let _ = write!(
                pod,
                "=head1 OPTIONS: {}\n\n=over\n\n",
                category.title.to_uppercase()
            );
            options.for_each(|option| switch(&mut pod, option));
            pod += "=back\n\n";
        }
    }
    pod += "=head1 EXIT STATUS\n\n\
            A server: 0 after a graceful stop, and for the process that was started when it went to the background; 2 for \
            a mistake, told in one line; else what the app's C<exit> said, or 1.\n\n\
            A command: 0 when it is done, or the server runs; 1 when it could not be done; 2 for a mistake; 3 when no \
            server runs; 4 when it is another user's.\n\n\
            =head1 SEE ALSO\n\nL<Gepok>, L<Gepok::Options>, L<plackup>\n\n=cut\n";
    pod
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn switch(pod: &mut String, option: &Opt) {
    let name = option.name.replace('_', "-");
    let letter = option
        .letter
        .map_or_else(String::new, |letter| format!("B<-{letter}>, "));
    let value = match option.value {
        "" => String::new(),
        value => format!(" I<{value}>"),
    };
    let _ = write!(
        pod,
        "=item {letter}B<--{name}>{value}\n\n{}\n\n",
        option.long
    );
    if let Preset::Value(text) | Preset::Described(text) = option.preset {
        let _ = write!(pod, "Default: {text}.\n\n");
    }
}

fn item(pod: &mut String, option: &Opt) {
    let _ = write!(pod, "=item {}", option.name);
    if !option.value.is_empty() {
        let _ = write!(pod, " I<{}>", option.value);
    }
    let _ = write!(pod, "\n\n{}\n\n", option.long);

    let mut facts = Vec::new();
    match option.preset {
        Preset::None => {}
        Preset::Value(text) | Preset::Described(text) => facts.push(format!("Default: {text}.")),
    }
    if !option.aliases.is_empty() {
        let names: Vec<_> = option
            .aliases
            .iter()
            .map(|name| format!("C<{name}>"))
            .collect();
        facts.push(format!("Also called {}.", names.join(", ")));
    }
    let letter = option.letter.map(|letter| format!("C<-{letter}>"));
    match (option.entry, letter) {
        (Entry::All, Some(letter)) => facts.push(format!("Short: {letter}.")),
        (Entry::Binary, Some(letter)) => {
            facts.push(format!("Only of the command C<gepok>; short: {letter}."));
        }
        (Entry::Binary, None) => facts.push("Only of the command C<gepok>.".to_owned()),
        (Entry::Perl, _) => facts.push("Only from Perl.".to_owned()),
        (Entry::All, None) => {}
    }
    if !facts.is_empty() {
        let _ = write!(pod, "{}\n\n", facts.join(" "));
    }
}

/// The table of options in `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = String::new();
    for category in CATEGORIES {
        let mut options = category
            .options
            .iter()
            .filter(|option| variables::name(option).is_some())
            .peekable();
        if options.peek().is_none() {
            continue;
        }
        let _ = write!(
            page,
            "### {}\n\n| option | value | default | what it is | reload |\n|---|---|---|---|---|\n",
            category.title
        );
        for option in options {
            let preset = match option.preset {
                Preset::None => String::new(),
                Preset::Value("1") if option.is_flag() => "true".to_owned(),
                Preset::Value(_) if option.is_flag() => "false".to_owned(),
                Preset::Value("") => "\"\"".to_owned(),
                Preset::Value(text) | Preset::Described(text) => plain(text).replace('|', "\\|"),
            };
            let reload = match table::changes_at_reload(option) {
                true => "yes",
                false => "",
            };
            let _ = writeln!(
                page,
                "| `{}` | {} | {preset} | {} | {reload} |",
                option.name,
                value::wanted(&option.kind),
                option.short.replace('|', "\\|")
            );
        }
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{VERSION, table};

    const REMEDY: &str = "is not what the option table says; run\n\
        GEPOK_WRITE=1 cargo test --no-default-features --lib config::pod";

    fn perl(file: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("perl/lib")
            .join(file)
    }

    // Compares, or writes when asked to.
    fn agree(file: &str, wanted: &str) {
        let path = perl(file);
        if std::env::var_os("GEPOK_WRITE").is_some() {
            fs::write(&path, wanted).expect("written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "perl/lib/{file} {REMEDY}");
    }

    #[test]
    fn the_documentation_is_of_this_table() {
        agree("Gepok/Options.pod", &pod());
    }

    #[test]
    fn the_manual_page_of_the_command_is_of_this_table() {
        agree("../gepok.pod", &command());
    }

    #[test]
    fn the_list_of_the_configuration_file_is_of_this_table() {
        let (begin, end) = ("<!-- made of the option table -->\n\n", "<!-- end -->\n");
        let file = "../../docs/configuration.md";
        let page = fs::read_to_string(perl(file)).expect("configuration.md");
        let (before, rest) = page.split_once(begin).expect("the list's begin");
        let (_, after) = rest.split_once(end).expect("the list's end");
        agree(file, &[before, begin, &markdown(), end, after].concat());
    }

    #[test]
    fn the_accessors_are_of_this_table() {
        let (begin, end) = ("my @ATTRIBUTES = qw(\n", ");\n");
        let module = fs::read_to_string(perl("Gepok.pm")).expect("Gepok.pm");
        let (before, rest) = module.split_once(begin).expect("the list's begin");
        let (_, after) = rest.split_once(end).expect("the list's end");
        let names: String = table::options()
            .filter(|option| option.taken_by(Entry::Perl))
            .map(|option| format!("    {}\n", option.name))
            .collect();
        agree("Gepok.pm", &[before, begin, &names, end, after].concat());
    }

    #[test]
    fn perl_has_the_same_version() {
        let module = fs::read_to_string(perl("Gepok.pm")).expect("Gepok.pm");
        assert!(module.contains(&format!("our $VERSION = '{VERSION}';")));
    }
}
