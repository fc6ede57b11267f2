//! What a virtual host leaves to code of the program, and what that has answered.

use std::fmt::Write;

use super::access::Facts;
use super::target::decode_path;

/// Which steps of a host are code. The subroutines themselves are in the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// Whether it rewrites paths.
    pub rewrite: bool,
    /// Paths that have a handler.
    pub handlers: Vec<String>,
    /// Paths below which code finds the files.
    pub locations: Vec<String>,
}

/// What the code of a host is asked about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which path its path stands for.
    Rewrite,
    /// Which of these subroutines in rules say yes.
    Rules(Vec<u16>),
    /// Which file it leads to, below this path.
    Location(String),
    /// The response of the handler of this path.
    Handler(String),
}

/// What is known of a request that its head and its source do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What rules need.
    pub client: Facts,
    /// The path that the code gives to it, if it gives one; nothing where it was not asked.
    pub rewritten: Option<Option<Vec<u8>>>,
    /// The code finds no file for it.
    pub has_no_location: bool,
}

/// Code has answered what makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonsense;

impl Question {
    /// The question as the worker reads it.
    pub fn text(&self) -> String {
        match self {
            Question::Rewrite => "rewrite".to_owned(),
            Question::Rules(numbers) => {
                let mut text = "rules".to_owned();
                for number in numbers {
                    // A text takes everything.
                    let _ = write!(text, " {number}");
                }
                text
            }
            Question::Location(path) => format!("location {path}"),
            Question::Handler(path) => format!("handler {path}"),
        }
    }
}

impl Known {
    /// Takes the answer of the code that passes the request on.
    ///
    /// # Errors
    /// When it can't be one. The request must not be passed on.
    pub fn learn(&mut self, question: &Question, answer: &[u8]) -> Result<(), Nonsense> {
        match question {
            Question::Rewrite if answer.is_empty() => self.rewritten = Some(None),
            Question::Rewrite => {
                let path = answer
                    .split(|&byte| byte == b'?')
                    .next()
                    .unwrap_or_default();
                let is_path = path.starts_with(b"/") && !path.starts_with(b"//");
                let is_graphic = answer.iter().all(u8::is_ascii_graphic);
                if !is_path || !is_graphic || answer.contains(&b'#') || decode_path(path).is_err() {
                    return Err(Nonsense);
                }
                self.rewritten = Some(Some(answer.to_vec()));
            }
            Question::Rules(numbers) => {
                let answer = std::str::from_utf8(answer).map_err(|_| Nonsense)?;
                let said = answer.split(' ').filter(|word| !word.is_empty());
                let said = said.map(|word| word.parse::<u16>().map_err(|_| Nonsense));
                let said = said.collect::<Result<Vec<_>, _>>()?;
                let all = numbers
                    .iter()
                    .map(|number| (*number, said.contains(number)));
                self.client.code = Some(all.collect());
            }
            Question::Location(_) => self.has_no_location = true,
            Question::Handler(_) => return Err(Nonsense),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        for (answer, path) in [
            ("", Some(None)),
            ("/a", Some(Some("/a"))),
            ("/a%20b?c=d", Some(Some("/a%20b?c=d"))),
            ("a", None),
            ("//evil.org", None),
            ("/a b", None),
            ("/a#b", None),
            ("/%zz", None),
            ("http://x/", None),
        ] {
            let mut known = Known::default();
            let learned = known.learn(&Question::Rewrite, answer.as_bytes());
            assert_eq!(learned.is_ok(), path.is_some(), "{answer}");
            let path = path.map(|path| path.map(|path| path.as_bytes().to_vec()));
            assert_eq!(known.rewritten, path, "{answer}");
        }
        let mut known = Known::default();
        let rules = Question::Rules(vec![0, 3, 7]);
        assert_eq!(rules.text(), "rules 0 3 7");
        assert_eq!(known.learn(&rules, b"3 9"), Ok(()));
        let said = vec![(0, false), (3, true), (7, false)];
        assert_eq!(known.client.code, Some(said));
        assert_eq!(known.learn(&rules, b"x"), Err(Nonsense));
    }
}
