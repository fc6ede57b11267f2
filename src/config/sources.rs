//! The places where the command's options come from, and what they say together.

use super::Options;
use super::error::Error;
use super::file::{self, Document};
use super::said::{self, Said, Source};
use super::table::{self, Opt};
use super::variables::Variables;

/// The places that stay the same as long as the server runs. The file may change: it is read again at each reload.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    typed: Vec<Said>,
    variables: Variables,
}

/// What all places say together.
#[derive(Clone, Debug)]
pub struct Understood {
    /// The options, defaults included
    pub options: Options,
    /// Those that were said, in the order of the table, and where
    pub said: Vec<Said>,
}

impl Sources {
    /// The command line and the environment.
    pub fn new(typed: Vec<Said>, variables: Variables) -> Self {
        Sources { typed, variables }
    }

    /// What deserves a warning: one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.variables.warnings
    }

    /// The configuration file, if one is named: its path as it was said.
    pub fn file(&self) -> Option<&str> {
        let settled = [self.typed.as_slice(), &self.variables.own];
        let mut places = settled.into_iter().map(|place| {
            let mut said = place.iter().rev();
            said.find(|said| said.option.name == "config")
        });
        let said = places.find_map(|said| said)?;
        said.texts
            .last()
            .map(String::as_str)
            .filter(|path| !path.is_empty())
    }

    /// What the places and the text of the file say together.
    ///
    /// # Errors
    /// All that is wrong, in the order of importance.
    pub fn read(&self, text: Option<&str>) -> Result<Understood, Vec<Error>> {
        let document = self.document(text);
        match self.settle(&document) {
            Ok(understood) if document.errors.is_empty() => Ok(understood),
            Ok(_) => Err(document.errors),
            Err(error) => Err([vec![error], document.errors].concat()),
        }
    }

    /// As [`Sources::read`], without what is wrong in the file: to find a server that runs with it.
    ///
    /// # Errors
    /// What is wrong elsewhere.
    pub fn read_leniently(&self, text: Option<&str>) -> Result<Understood, Error> {
        self.settle(&self.document(text))
    }

    fn document(&self, text: Option<&str>) -> Document {
        match (self.file(), text) {
            (Some(name), Some(text)) => file::parse(name, text),
            _ => Document::default(),
        }
    }

    fn settle(&self, document: &Document) -> Result<Understood, Error> {
        let variables = &self.variables;
        let said = said::settle(&[
            &self.typed,
            &variables.own,
            &variables.of_platform,
            &document.said,
        ]);
        let mut options = said::options(&said)?;
        options.vhosts.clone_from(&document.vhosts);
        Ok(Understood { options, said })
    }
}

impl Understood {
    /// A message about an option, with the place where that was said if it is not the command line.
    pub fn locate(&self, message: String) -> Error {
        let source = said::locate(&self.said, &message);
        source.unwrap_or(Source::Typed).error(message)
    }

    /// The options that `other` says differently and that change only with a restart.
    pub fn kept_until_restart(&self, other: &Understood) -> Vec<&'static str> {
        let texts = |all: &Understood, option: &Opt| {
            let said = all.said.iter().find(|said| said.option.name == option.name);
            said.map(|said| said.texts.clone())
        };
        table::options()
            .filter(|option| !table::changes_at_reload(option))
            .filter(|option| texts(self, option) != texts(other, option))
            .map(|option| option.name)
            .collect()
    }
}
