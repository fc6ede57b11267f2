//! What the operator said becomes the settings of core, workers and pool.

#![forbid(unsafe_code)]

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;

use super::documents::OfHost;
use crate::config::resolved::{self, Budget, Config, Keepalive, Vhost};
use crate::config::vhost::App;
use crate::core;
use crate::dispatch;
use crate::documents::Served;
use crate::http::context;
use crate::http::forwarding;
use crate::http::limits::Limits;
use crate::net::admission;
use crate::process::origin::Origin;
use crate::process::pool::Sizes;
use crate::semantics::forwarded::Field;
use crate::semantics::message::{RequestTimeout, VirtualHost};
use crate::site;
use crate::spool;
use crate::worker::{self, HostApp, HostAppSource, HostApps};

/// When a worker has used up its budget.
pub(super) fn budget(budget: &Budget) -> worker::BudgetLimits {
    worker::BudgetLimits {
        requests: budget.requests,
        age: budget.age,
        rss: budget.rss,
    }
}

/// Between which numbers of workers the pool moves; nothing where it does not.
pub(super) fn sizes(config: &Config) -> Option<Sizes> {
    let (workers, life) = (&config.workers, &config.life);
    let fixed = workers.fixed || workers.start == 0 || life.most == workers.start;
    (!fixed).then_some(Sizes {
        least: workers.start as usize,
        most: life.most as usize,
        min_spare: life.min_spare as usize,
        max_spare: life.max_spare as usize,
        idle_timeout: life.idle_timeout,
    })
}

/// How the core works.
pub fn core(config: &Config) -> core::Settings {
    let limits = &config.limits;
    // One process can't be killed and replaced.
    let replaced = |_: &Duration| config.workers.start > 0;
    let request_timeout = config.life.request_timeout;
    // Behind the time of a handshake nobody waits for a verdict.
    let handshake_timeout = config.tls.as_ref().and_then(|tls| tls.handshake_timeout);
    let verify_timeout = request_timeout.into_iter().chain(handshake_timeout).min();
    core::Settings {
        http: http(config),
        site: site(config, Default::default()),
        site_reader: None,
        dispatch: dispatch::Settings {
            request_timeout: request_timeout.filter(replaced),
            worker_requests: (config.life.event_loop.as_ref())
                .map(|looped| looped.requests as usize),
            verify_timeout: verify_timeout.filter(replaced),
            board: None,
            tell_load: sizes(config).is_some(),
            queue: limits.queue.map(|queue| queue.get() as usize),
            queue_time: limits.queue_time,
            response_rate: limits.response_rate.map_or(0, NonZeroU64::get),
        },
        admission: admission::Settings {
            all: limits.connections,
            of_one: limits.connections_per_address,
            uncounted: config.proxies.trusted.clone().unwrap_or_default(),
        },
        spool: spool::Settings {
            folder: limits.spool_dir.clone(),
            limit: limits.spool.map(NonZeroU64::get),
        },
        board_file: None,
    }
}

/// What the server answers itself: the status page, and files of its own and of its virtual hosts.
pub(super) fn site(config: &Config, (files, of_hosts): (Served, Vec<OfHost>)) -> site::Settings {
    let status = &config.status;
    let hosts = config.vhosts.iter().zip(of_hosts);
    site::Settings {
        own: site::OwnSettings {
            status: status.path.clone(),
            metrics: status.metrics.clone(),
            access: site::Access(status.allowed.clone()),
        },
        files,
        hosts: hosts
            .map(|(vhost, files)| host(vhost, files, config.workers.start > 0))
            .collect(),
    }
}

/// The apps of virtual hosts. Their paths belong to the folder of the start.
pub fn host_apps(config: &Config, origin: &Origin) -> HostApps {
    let app = |vhost: &Vhost| {
        let name = vhost.names.first()?.clone();
        let label = vhost
            .source
            .error(format!("the app of the virtual host '{name}'"));
        let source = match vhost.app.as_ref()? {
            App::Code => HostAppSource::Code,
            App::Named(module) if !module.contains(['/', '.']) => {
                HostAppSource::Named(module.clone())
            }
            App::Named(path) => HostAppSource::Named(origin.path(path).to_string_lossy().into()),
        };
        Some(HostApp {
            name,
            label: label.to_string(),
            source,
        })
    };
    let code = |vhost: &Vhost| {
        vhost.code.as_ref()?;
        let host = VirtualHost {
            name: vhost.names.first()?.clone().into(),
            question: Some(Bytes::new()),
            ..VirtualHost::default()
        };
        let label = format!("the code of the virtual host '{}'", vhost.names.first()?);
        Some(HostApp {
            name: String::from_utf8_lossy(&host.app()?).into_owned(),
            label: vhost.source.error(label).to_string(),
            source: HostAppSource::Code,
        })
    };
    HostApps {
        apps: {
            let code = config.vhosts.iter().filter_map(code);
            config.vhosts.iter().filter_map(app).chain(code).collect()
        },
        need_servers: config.vhosts.is_empty() || config.vhosts.iter().any(|vhost| vhost.needs_app),
    }
}

/// Only workers that are processes can be `replaced` when the app is silent for too long.
fn host(vhost: &Vhost, files: OfHost, replaced: bool) -> site::HostSettings {
    site::HostSettings {
        names: vhost.names.clone(),
        default: vhost.default,
        has_app: vhost.app.is_some(),
        directories: files.directories,
        homes: files
            .homes
            .zip(vhost.user_dirs.as_ref())
            .map(|(files, dirs)| site::HomesSettings {
                folder: dirs.folder.clone(),
                allow_users: dirs.allow_users.clone(),
                deny_users: dirs.deny_users.clone(),
                files,
                rule: dirs.rule.clone(),
            }),
        redirects: vhost.redirects.clone(),
        rewrites: vhost.rewrites.clone(),
        error_pages: vhost.error_pages.clone(),
        max_content: vhost.max_content,
        request_timeout: match vhost.request_timeout {
            limit if replaced => limit,
            _ => RequestTimeout::OfServer,
        },
        rules: vhost.rules.clone(),
        code: vhost.code.clone(),
    }
}

fn forwarding(proxies: &resolved::Proxies) -> Option<forwarding::Settings> {
    let trusted = proxies.trusted.clone()?;
    Some(forwarding::Settings {
        trusted,
        field: match proxies.header.as_str() {
            "x-forwarded-for" => Field::XForwardedFor,
            "forwarded" => Field::Forwarded,
            name => Field::Single(name.to_owned()),
        },
        scheme: proxies.proto,
        host: proxies.host,
    })
}

fn http(config: &Config) -> context::Settings {
    context::Settings {
        limits: http_limits(&config.limits),
        timeout: config.timeout.unwrap_or_default(),
        kept_timeout: (config.life.request_timeout)
            .filter(|_| config.life.event_loop.is_some())
            .or(config.timeout)
            .unwrap_or_default(),
        header_timeout: config.header_timeout.unwrap_or_default(),
        keepalive_timeout: config
            .keepalive
            .map(|keepalive| keepalive.timeout)
            .unwrap_or_default(),
        max_keepalive_reqs: match config.keepalive {
            Some(Keepalive {
                max_requests: Some(limit),
                ..
            }) => limit.get(),
            _ => 0,
        },
        h2c: config.http2.h2c,
        max_streams: config.http2.max_streams,
        server: config.server.clone().map(Bytes::from),
        forwarding: forwarding(&config.proxies),
        psgix_io: config.psgix_io,
        file_ranges: config.files.ranges,
        content_rate: config.limits.content_rate.map_or(0, NonZeroU64::get),
    }
}

fn http_limits(limits: &resolved::Limits) -> Limits {
    Limits {
        field_section: limits.field_section,
        fields: limits.fields,
        target: limits.target,
        content: limits.content.map(NonZeroU64::get),
        bare_lf: limits.bare_lf,
        te_cl: limits.te_cl,
        underscore_names: limits.underscores,
        require_host: limits.require_host,
        target_fragment: limits.target_fragment,
    }
}
