//! Options from a configuration file in TOML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::options::Options;
use super::said::Said;
use super::table::{self, Entry, Opt};
use super::value::{Text, texts};
use super::vhost::Vhost;
use super::vhosts;

/// What a configuration file says.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Its options, in the order of the file
    pub said: Vec<Said>,
    /// Its virtual hosts, in the order of the file
    pub vhosts: Vec<Vhost>,
    /// All that is wrong in it, in the order of the file
    pub errors: Vec<Error>,
}

/// Reads a file of this name. What is wrong in one place does not hide what stands elsewhere.
pub fn parse(name: &str, text: &str) -> Document {
    let mut reader = Reader {
        text: Text::new(name, text),
        document: Document::default(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let why = error.message().replace('\n', " ");
        reader.wrong(at, format!("this is not TOML: {}", why.trim()));
    }
    let syntax = std::mem::take(&mut reader.document.errors);
    reader.top(table.get_ref());
    // What follows such a mistake may be misread: what is wrong there says nothing.
    if !syntax.is_empty() {
        let cut: Vec<_> = syntax.iter().map(Error::line).collect();
        let is_cut = |said: &Said| cut.contains(&said.source.line());
        reader.document.said.retain(|said| !is_cut(said));
        reader.document.errors = syntax;
    }
    let mut document = reader.document;
    document.errors.sort_by_key(Error::line);
    document
}

struct Reader<'a> {
    text: Text<'a>,
    document: Document,
}

impl Reader<'_> {
    fn wrong(&mut self, at: usize, why: String) {
        let error = self.text.error(at, why);
        self.document.errors.push(error);
    }

    fn top(&mut self, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let at = key.span().start;
            if matches!(key.get_ref().as_ref(), "vhost" | "vhosts") {
                let vhosts = vhosts::read(&self.text, at, value, &mut self.document.errors);
                self.document.vhosts.extend(vhosts);
                continue;
            }
            match self.option(key.get_ref()) {
                Ok(option) => self.take(option, at, value),
                Err(why) => self.wrong(at, why),
            }
        }
    }

    fn option(&self, name: &str) -> Result<&'static Opt, String> {
        let Some(option) = table::find(name, Entry::Binary) else {
            if table::find(name, Entry::Perl).is_some() {
                return Err(format!("option '{name}' can be set only by a Perl program"));
            }
            return Err(match table::nearest(name, Entry::Binary) {
                Some(near) => format!("unknown option '{name}', did you mean '{near}'?"),
                None => format!("unknown option '{}'", name.escape_debug()),
            });
        };
        if table::OF_COMMANDS.contains(&option.name) || option.name == "config" {
            return Err(format!("option '{name}' can't be set in a file"));
        }
        let mut said = self.document.said.iter();
        if let Some(other) = said.find(|said| said.option.name == option.name) {
            let (name, other) = (option.name, &other.source);
            return Err(format!("option '{name}' is set already, at {other}"));
        }
        Ok(option)
    }

    fn take(&mut self, option: &'static Opt, at: usize, value: &Spanned<DeValue<'_>>) {
        let texts = match texts(option, value.get_ref()) {
            Ok(texts) => texts,
            Err(why) => return self.wrong(at, format!("option '{}' {why}", option.name)),
        };
        let said = Said {
            option,
            texts,
            source: self.text.source(at),
        };
        match said.set(&mut Options::default()) {
            Ok(()) => self.document.said.push(said),
            Err(error) => self.document.errors.push(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let document = parse("f", text);
        let said = document.said.iter();
        let said =
            said.map(|said| format!("{} {} {:?}", said.source, said.option.name, said.texts));
        said.chain(document.errors.iter().map(ToString::to_string))
            .collect()
    }

    #[test]
    fn values_are_of_the_tables_types() {
        for (text, line) in [
            ("keepalive = false", "f:1 keepalive [\"0\"]"),
            ("\n\nmax_workers = 1_0 # ten", "f:3 max_workers [\"10\"]"),
            ("workers = 4", "f:1 max_workers [\"4\"]"),
            ("max-workers = 4", "f:1 max_workers [\"4\"]"),
            ("timeout = 5", "f:1 timeout [\"5\"]"),
            ("timeout = 0.25", "f:1 timeout [\"0.25\"]"),
            ("timeout = \"0.25\"", "f:1 timeout [\"0.25\"]"),
            ("max_content = \"1.5G\"", "f:1 max_content [\"1.5G\"]"),
            ("max_content = 0x10", "f:1 max_content [\"16\"]"),
            ("umask = 0o022", "f:1 umask [\"022\"]"),
            ("umask = \"022\"", "f:1 umask [\"022\"]"),
            ("user = 1000", "f:1 user [\"1000\"]"),
            ("http_ports = 8080", "f:1 http_ports [\"8080\"]"),
            (
                "http_ports = [8080, \"[::1]:81\"]",
                "f:1 http_ports [\"8080\", \"[::1]:81\"]",
            ),
            (
                "directory = {\"/a\" = \"/b\", \"/c\" = \"/d\"}",
                "f:1 directory [\"/a=/b\", \"/c=/d\"]",
            ),
            ("[directory]\n\"/a\" = \"/b\"", "f:1 directory [\"/a=/b\"]"),
            ("directory = \"/a=/b\"", "f:1 directory [\"/a=/b\"]"),
            ("ssl_cert_file = []", "f:1 ssl_cert_file []"),
            // Errors
            (
                "keepalive = 1",
                "f:1: option 'keepalive' needs true or false, not a whole number",
            ),
            (
                "max_workers = \"4\"",
                "f:1: option 'max_workers' needs a whole number, not a text",
            ),
            (
                "max_workers = -1",
                "f:1: option 'max_workers': '-1' is not a whole number from 0 to 10000",
            ),
            (
                "timeout = true",
                "f:1: option 'timeout' needs a number of seconds, not true or false",
            ),
            (
                "umask = 22",
                "f:1: option 'umask' needs an octal number, as 0o660 or \"660\", not a whole number",
            ),
            (
                "name = [\"a\"]",
                "f:1: option 'name' takes one value, not an array",
            ),
            (
                "include = {a = \"b\"}",
                "f:1: option 'include' needs a text or an array of texts, not a table",
            ),
            (
                "name = 1979-05-27",
                "f:1: option 'name' needs a text, not a date",
            ),
            (
                "http_ports = [\"x\"]",
                "f:1: option 'http_ports': 'x' is not of the form N, :N, *:N, host:N or [v6]:N",
            ),
            (
                "\nmax_wrokers = 4",
                "f:2: unknown option 'max_wrokers', did you mean 'max_workers'?",
            ),
            ("xyzzy = 4", "f:1: unknown option 'xyzzy'"),
            (
                "server_ready = 4",
                "f:1: option 'server_ready' can be set only by a Perl program",
            ),
            (
                "config = \"x\"",
                "f:1: option 'config' can't be set in a file",
            ),
            ("json = true", "f:1: option 'json' can't be set in a file"),
            (
                "child_exit = 5",
                "f:1: option 'child_exit' needs Perl code as a text, not a whole number",
            ),
        ] {
            assert_eq!(shown(text), [line], "{text}");
        }
    }

    #[test]
    fn one_option_has_one_value() {
        assert_eq!(
            shown("workers = 4\ntimeout = 1\nmax_workers = 5"),
            [
                "f:1 max_workers [\"4\"]",
                "f:2 timeout [\"1\"]",
                "f:3: option 'max_workers' is set already, at f:1"
            ]
        );
        let twice = shown("timeout = 4\ntimeout = 5");
        assert!(twice[0].starts_with("f:1 timeout"), "{twice:?}");
        assert!(
            twice[1].starts_with("f:2: this is not TOML: duplicate key"),
            "{twice:?}"
        );
    }

    /// Protects: a mistake in one line does not hide those of others, nor what is right.
    #[test]
    fn all_mistakes_are_found() {
        let found = shown("a1 = 1\npid_path = \"/run/x\"\nb2 = 2\n");
        assert_eq!(found.len(), 3, "{found:?}");
        let cut = shown("pid_path = \"/run/x\"\nname = \"x\nb2 = 2\n");
        assert_eq!(cut[0], "f:1 pid_path [\"/run/x\"]");
        assert!(cut[1].starts_with("f:2: this is not TOML: "), "{cut:?}");
        assert_eq!(cut.len(), 2, "{cut:?}");
    }

    /// Protects: whatever is in the file, it is read in a short time and without a panic.
    #[test]
    fn nothing_in_a_file_is_fatal() {
        for text in [
            "[",
            "=",
            "a",
            "\u{0}",
            "a = [[[[[[",
            "[[vhost]]",
            "é = 1",
            "\"\" = 1",
        ] {
            assert!(!parse("f", text).errors.is_empty(), "{text:?}");
        }
        let deep = format!("name = {}", "[".repeat(100_000));
        assert!(!parse("f", &deep).errors.is_empty());
        assert!(parse("f", "").errors.is_empty());
        assert!(
            parse("f", "\u{feff}# with a byte order mark\r\n")
                .errors
                .is_empty()
        );
    }
}
