//! Who answers a request: the app, or the server itself. That is decided on the head, before the content is read: what
//! is refused here is never uploaded.
//!
//! Knows no Perl and no sockets: a head goes in, a decision or a response comes out.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use self::host::{Host, Step};
use self::hosts::Hosts;
use self::own_pages::{OwnPages, Page};
use self::rules::Rules;
use crate::body::Body;
use crate::documents::offload::Offload;
use crate::documents::{self, Answer, Disks, Files, Place};
use crate::lookup::{self, Lookup, Resolver};
use crate::metrics::Metrics;
use crate::scoreboard::Board;
use crate::semantics::access::{HostName, Rule};
use crate::semantics::code::{Code, Known, Question};
use crate::semantics::field::Fields;
use crate::semantics::mapping::{Mapping, Redirect};
use crate::semantics::message::{RequestHead, RequestTimeout, ResponseHead, VirtualHost};
use crate::semantics::source::Source;
use crate::semantics::target::Target;

mod access;
mod error_page;
mod homes;
mod host;
mod hosts;
mod mappings;
mod metrics;
mod own_pages;
mod rules;
mod status;
mod status_page;

pub use self::access::Access;
pub use self::homes::{Homes, Settings as HomesSettings};
pub use self::own_pages::Settings as OwnSettings;

/// What the server answers itself.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Pages about the server itself.
    pub own: OwnSettings,
    /// The directories of files; those that clients see are for a server without virtual hosts.
    pub files: documents::Served,
    /// The virtual hosts; none: the server is one host, whatever its name.
    pub hosts: Vec<HostSettings>,
}

/// A virtual host.
#[derive(Clone, Debug, Default)]
pub struct HostSettings {
    /// Its names in lower case; `*.` before a domain stands for all names below it.
    pub names: Vec<String>,
    /// Whether it has the requests for hosts that are not known.
    pub default: bool,
    /// Whether it has an app of its own.
    pub has_app: bool,
    /// Its directories of files.
    pub directories: Vec<documents::Settings>,
    /// The directories of the system's users, if they have some.
    pub homes: Option<HomesSettings>,
    /// Its redirects.
    pub redirects: Vec<Redirect>,
    /// Paths that stand for others.
    pub rewrites: Vec<Mapping>,
    /// The paths of the pages of errors, by their statuses.
    pub error_pages: BTreeMap<u16, String>,
    /// Bytes of content that a request may have, [`u64::MAX`] without limit; none: as many as the server allows.
    pub max_content: Option<u64>,
    /// How long its app may be silent on a request.
    pub request_timeout: RequestTimeout,
    /// Who may come to a path and what is below it.
    pub rules: Vec<(String, Rule)>,
    /// What code of the program decides, if any does.
    pub code: Option<Code>,
}

/// Where requests go. The plan may be replaced while requests are answered by the one before.
#[derive(Debug)]
pub struct Site {
    board: Option<Arc<Board>>,
    metrics: Rc<Metrics>,
    plan: RefCell<Plan>,
    lookup: Lookup,
}

#[derive(Debug)]
struct Plan {
    own: Option<Rc<OwnPages>>,
    served: Served,
    /// Whether some host has a limit on content of its own.
    limits_content: bool,
    offload: Option<Rc<Offload>>,
}

#[derive(Debug)]
enum Served {
    /// One host, whatever its name.
    One(Option<Rc<Files>>),
    /// Virtual hosts.
    Hosts(Hosts),
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its virtual host, where there are some and one has it.
    pub vhost: Option<Rc<VirtualHost>>,
    /// Who answers it.
    pub decision: Decision,
}

impl From<Decision> for Route {
    fn from(decision: Decision) -> Self {
        Route {
            vhost: None,
            decision,
        }
    }
}

/// Who answers a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The app, in a worker.
    App,
    /// The code of the host, which sees this target where that is another than the client's. It may pass the request on; then where
    /// that goes is to be asked again.
    Ask(Question, Option<Vec<u8>>),
    /// The server itself, unless it finds that the app is to answer. The request's content is not read.
    Server(Responder),
}

/// What answers requests without the app.
#[derive(Clone, Debug)]
pub enum Responder {
    /// A page about the server itself.
    Own(Rc<OwnPages>, Page),
    /// A directory of files.
    Files(Rc<Files>, Place),
    /// The directory of a user, by name.
    User(Rc<Homes>, String),
    /// The path is somewhere else: the status, and where.
    Redirect(u16, Vec<u8>),
    /// A status that says all: the client may not come there, or there is no such host.
    Refusal(u16),
}

impl Responder {
    /// The response to a request with this head; nothing where the app is to answer after all.
    pub async fn answer(&self, head: &RequestHead, source: &Source) -> Option<Response> {
        match self {
            Responder::Own(pages, page) => Some(pages.answer(*page, head, source).await),
            Responder::Files(files, place) => {
                let Answer { head, body } = files.answer(place, head).await?;
                Some(Response { head, body })
            }
            Responder::User(homes, user) => {
                let Answer { head, body } = homes.answer(user, head).await;
                Some(Response { head, body })
            }
            Responder::Redirect(status, place) => {
                Some(Response::text(*status, &[(b"Location", place)]))
            }
            Responder::Refusal(status) => Some(Response::refusal(*status)),
        }
    }
}

/// A response of the server's own.
#[derive(Debug)]
pub struct Response {
    /// Its head, without what each response has.
    pub head: ResponseHead,
    /// Its content.
    pub body: Body,
}

impl Response {
    /// One whose status says all.
    pub fn refusal(status: u16) -> Self {
        Response::text(status, &[])
    }

    fn text(status: u16, fields: &[(&[u8], &[u8])]) -> Self {
        let Answer { head, body } = documents::text(status, fields);
        Response { head, body }
    }

    /// One that no cache keeps.
    fn uncached(status: u16, fields: &[(&str, &str)], content: String) -> Self {
        let fields = fields.iter().chain(&[("Cache-Control", "no-store")]);
        Response {
            head: ResponseHead {
                status,
                fields: Fields::from_pairs(fields.copied()),
            },
            body: content.into(),
        }
    }
}

impl Site {
    /// By these settings. Without a board there is nothing to tell, and no page about the server.
    pub fn new(settings: Settings, board: Option<Arc<Board>>) -> Self {
        Self::resolving(settings, board, Arc::new(lookup::System))
    }

    /// One that asks this resolver for the names of clients' hosts.
    fn resolving(
        settings: Settings,
        board: Option<Arc<Board>>,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let metrics = Rc::default();
        Site {
            plan: RefCell::new(Plan::new(settings, board.as_ref(), &metrics)),
            board,
            metrics,
            lookup: Lookup::new(resolver, lookup::Limits::default()),
        }
    }

    /// Goes by these settings from the next request on.
    pub fn replace(&self, settings: Settings) {
        let plan = Plan::new(settings, self.board.as_ref(), &self.metrics);
        drop(self.plan.replace(plan));
    }

    /// What counts requests, where somebody may ask for it.
    pub fn metrics(&self) -> Option<&Metrics> {
        let own = &self.plan.borrow().own;
        let shown = own.as_ref().is_some_and(|own| own.has_metrics());
        shown.then_some(&*self.metrics)
    }

    /// Where the request with this head goes, which this client has sent. The target of the head may be rewritten.
    /// It waits, for a limited time, where a rule needs the name of the client's host, which is then `known`.
    pub async fn route(&self, head: &mut RequestHead, source: &Source, known: &mut Known) -> Route {
        let route = self.plan.borrow().route(head, source, known);
        if let Some(route) = route {
            return route;
        }
        known.client.name = match source.address() {
            Some(address) => Box::pin(self.lookup.name(address.ip())).await,
            None => HostName::Unavailable,
        };
        let route = self.plan.borrow().route(head, source, known);
        route.unwrap_or_else(|| Decision::Server(Responder::Refusal(403)).into())
    }

    /// The name of the virtual host that has the request with this head.
    pub fn host(&self, head: &RequestHead) -> Option<Bytes> {
        match &self.plan.borrow().served {
            Served::Hosts(hosts) => Some(hosts.find(asked(head))?.vhost.name.clone()),
            Served::One(_) => None,
        }
    }

    /// Bytes of content that the request with this head may have, where its host has a limit of its own.
    pub fn max_content(&self, head: &RequestHead) -> Option<u64> {
        let plan = self.plan.borrow();
        match &plan.served {
            Served::Hosts(hosts) if plan.limits_content => hosts.find(asked(head))?.max_content,
            Served::Hosts(_) | Served::One(_) => None,
        }
    }

    /// The response that the server gives in the place of the app's, where the app's names a file that the server is to send.
    pub async fn offloaded(&self, request: &RequestHead, head: &ResponseHead) -> Option<Response> {
        let offload = self.plan.borrow().offload.clone()?;
        let named = offload.named(head)?;
        let Answer { head, body } = offload.answer(named, request, head).await;
        Some(Response { head, body })
    }

    /// The page for a status that is an error, as the response to a request with this head: the host's where it has one, else the
    /// server's own for a client that prefers HTML. `kept` are further fields of the response.
    pub async fn error_page(
        &self,
        request: &RequestHead,
        status: u16,
        kept: &Fields,
    ) -> Option<Response> {
        let page = self.plan.borrow().error_page(request, status);
        if let Some((files, path)) = page
            && let Some(Answer { head, body }) = files.page(&path, status, kept, request).await
        {
            return Some(Response { head, body });
        }
        error_page::page(request, status, kept)
    }

    /// This response, or the host's page in its place where it is an error that has one.
    pub async fn with_error_page(&self, request: &RequestHead, response: Response) -> Response {
        let Response { head, .. } = &response;
        if head.status < 400 {
            return response;
        }
        let page = self.error_page(request, head.status, &head.fields);
        page.await.unwrap_or(response)
    }

    /// Whether [`offloaded`](Self::offloaded) has a response.
    pub fn offloads(&self, head: &ResponseHead) -> bool {
        let plan = self.plan.borrow();
        let named = |offload: &Rc<Offload>| offload.named(head).is_some();
        plan.offload.as_ref().is_some_and(named)
    }
}

impl Plan {
    fn new(settings: Settings, board: Option<&Arc<Board>>, metrics: &Rc<Metrics>) -> Self {
        let own = board.map(|board| {
            let (board, metrics) = (Arc::clone(board), Rc::clone(metrics));
            Rc::new(OwnPages::new(settings.own, board, metrics))
        });
        let disks = Disks::default();
        let mut hosts = settings.hosts.iter();
        let limits_content = hosts.any(|host| host.max_content.is_some());
        Plan {
            limits_content,
            own,
            served: match settings.hosts.as_slice() {
                [] => Served::One(files(&settings.files.directories, &disks)),
                _ => {
                    let mut hosts = Hosts::default();
                    for settings in settings.hosts {
                        let files = files(&settings.directories, &disks);
                        let homes = settings.homes.map(|homes| Homes::new(homes, &disks));
                        let rules = Rules::new(settings.rules);
                        let vhost = VirtualHost {
                            name: settings.names.first().cloned().unwrap_or_default().into(),
                            has_app: settings.has_app,
                            question: None,
                            request_timeout: settings.request_timeout,
                        };
                        let host = Host {
                            vhost: Rc::new(vhost),
                            redirects: host::redirects(settings.redirects),
                            rewrites: host::rewrites(settings.rewrites),
                            rules,
                            code: settings.code,
                            files,
                            homes: homes.map(Rc::new),
                            error_pages: settings.error_pages,
                            max_content: settings.max_content,
                        };
                        hosts.add(host, &settings.names, settings.default);
                    }
                    Served::Hosts(hosts)
                }
            },
            offload: Offload::new(&settings.files.internal, &settings.files.sendfile).map(Rc::new),
        }
    }

    fn error_page(&self, request: &RequestHead, status: u16) -> Option<(Rc<Files>, String)> {
        let Served::Hosts(hosts) = &self.served else {
            return None;
        };
        let host = hosts.find(asked(request))?;
        let path = host.error_pages.get(&status)?.clone();
        Some((Rc::clone(host.files.as_ref()?), path))
    }

    /// Where the request goes; nothing where that depends on the name of the client's host, and it was not asked for.
    fn route(&self, head: &mut RequestHead, source: &Source, known: &Known) -> Option<Route> {
        if let Some(own) = &self.own
            && let Some(page) = own.find(head.target())
        {
            return Some(Decision::Server(Responder::Own(Rc::clone(own), page)).into());
        }
        let host = match &self.served {
            Served::One(files) => return Some(Plan::files(files.as_ref(), head).into()),
            Served::Hosts(hosts) => hosts.find(asked(head)),
        };
        let Some(host) = host else {
            return Some(Decision::Server(Responder::Refusal(404)).into());
        };
        let decision = match host.step(head, source, known) {
            Step::Take(target) => {
                let sent = head.target;
                if let Some(target) = target {
                    head.rewrite(&target);
                }
                match host.user(head, source, &known.client) {
                    Some(Some(decision)) => decision,
                    // It is routed again then, from the beginning.
                    Some(None) => {
                        head.target = sent;
                        return None;
                    }
                    None => Plan::files(host.files.as_ref(), head),
                }
            }
            Step::Redirect(status, place) => Decision::Server(Responder::Redirect(status, place)),
            Step::Forbidden => Decision::Server(Responder::Refusal(403)),
            Step::NeedsName => return None,
            Step::Ask(question, target) => {
                let vhost = VirtualHost {
                    question: Some(question.text().into()),
                    ..(*host.vhost).clone()
                };
                return Some(Route {
                    vhost: Some(Rc::new(vhost)),
                    decision: match question {
                        // It answers in any case, and may read the content.
                        Question::Handler(_) => {
                            if let Some(target) = target {
                                head.rewrite(&target);
                            }
                            Decision::App
                        }
                        question => Decision::Ask(question, target),
                    },
                });
            }
        };
        Some(Route {
            vhost: Some(host.vhost.clone()),
            decision,
        })
    }

    fn files(files: Option<&Rc<Files>>, head: &RequestHead) -> Decision {
        let place = files.and_then(|files| Some((files, files.find(head)?)));
        place.map_or(Decision::App, |(files, place)| {
            Decision::Server(Responder::Files(Rc::clone(files), place))
        })
    }
}

fn files(directories: &[documents::Settings], disks: &Disks) -> Option<Rc<Files>> {
    let some = !directories.is_empty();
    some.then(|| Rc::new(Files::sharing(directories, disks)))
}

/// The host and port that a request is for; nothing where it names none. What has no single reading is refused before.
pub fn asked(head: &RequestHead) -> &[u8] {
    let target = Target::parse(head.method(), head.target());
    let host = target.and_then(|target| target.host(&head.fields));
    host.ok().flatten().unwrap_or_default()
}
