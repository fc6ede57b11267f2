//! What the options about logs mean.

use super::super::error::{Error, Result};

use super::super::options::Options;

/// The logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// Where the access log goes
    pub access: Place,
    /// What its lines show
    pub access_format: String,
    /// The file that becomes standard error
    pub errors: Place,
    /// The least level of lines; none: as the environment says
    pub level: Option<&'static str>,
    /// A method of a subclass gets what the access log would
    pub access_hook: bool,
}

/// Where a log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere of its own
    #[default]
    None,
    /// Where the option says
    Path(String),
    /// To standard error
    StandardError,
    /// To the user's file of this name: in /var/log for root, else at home
    Usual(String),
}

const LEVELS: [&str; 5] = ["off", "error", "warn", "info", "debug"];

pub(super) fn logging(options: &Options, name: &str) -> Result<Logging> {
    let said = &options.logging;
    let usual = |log| Place::Usual(format!("{}-{log}.log", name.replace('/', "-")));
    let access = match (&said.access_log_path, said.default_logs) {
        (Some(path), _) => Place::of(path),
        (None, false) => Place::None,
        (None, true) if options.daemon.daemonize => usual("access"),
        (None, true) => Place::StandardError,
    };
    let errors = match (&said.error_log_path, said.default_logs) {
        (Some(path), _) => Place::of(path),
        (None, true) if options.daemon.daemonize => usual("error"),
        (None, _) => Place::None,
    };
    let level = match &said.log_level {
        None => None,
        Some(level) => match LEVELS
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(level))
        {
            Some(level) => Some(level),
            None => {
                return Err(Error::option(
                    "log_level",
                    format!(
                        "'{}' is not one of {}",
                        level.escape_debug(),
                        LEVELS.join(", ")
                    ),
                ));
            }
        },
    };
    Ok(Logging {
        access,
        access_format: said.access_log_format.clone(),
        errors,
        level,
        access_hook: said.access_hook,
    })
}

impl Place {
    fn of(path: &str) -> Place {
        match path {
            "" => Place::None,
            path => Place::Path(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(change: impl Fn(&mut Options)) -> Logging {
        let mut options = Options::new();
        change(&mut options);
        logging(&options, "shop").unwrap()
    }

    #[test]
    fn nothing_is_logged_that_nobody_asked_for() {
        let logs = resolve(|_| {});
        assert_eq!((logs.access, logs.errors), (Place::None, Place::None));
        let logs = resolve(|options| options.daemon.daemonize = true);
        assert_eq!((logs.access, logs.errors), (Place::None, Place::None));
    }

    #[test]
    fn the_class_logs_to_standard_error_and_in_the_background_to_files() {
        let logs = resolve(|options| options.logging.default_logs = true);
        assert_eq!(
            (logs.access, logs.errors),
            (Place::StandardError, Place::None)
        );
        let logs = resolve(|options| {
            options.logging.default_logs = true;
            options.daemon.daemonize = true;
        });
        assert_eq!(logs.access, Place::Usual("shop-access.log".to_owned()));
        assert_eq!(logs.errors, Place::Usual("shop-error.log".to_owned()));
    }

    #[test]
    fn what_is_said_counts_and_empty_is_none() {
        let logs = resolve(|options| {
            options.logging.default_logs = true;
            options.daemon.daemonize = true;
            options.logging.access_log_path = Some(String::new());
            options.logging.error_log_path = Some("/x".to_owned());
        });
        assert_eq!(
            (logs.access, logs.errors),
            (Place::None, Place::Path("/x".to_owned()))
        );
    }

    #[test]
    fn levels_are_words() {
        let logs = resolve(|options| options.logging.log_level = Some("INFO".to_owned()));
        assert_eq!(logs.level, Some("info"));
        let mut options = Options::new();
        options.logging.log_level = Some("loud".to_owned());
        assert_eq!(
            logging(&options, "shop").unwrap_err().to_string(),
            "option 'log_level': 'loud' is not one of off, error, warn, info, debug"
        );
    }
}
