//! `commonwatt serve`: the daemon from its first line to its last.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use commonwatt_core::admission::CallId;
use commonwatt_grid::{Grid, World};
use commonwatt_server::carry::Carriage;
use commonwatt_server::{Backstage, Lobby, admin, listen};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::compose::{Composer, Daemon, State};
use crate::home::Home;
use crate::settings::Settings;
use crate::{bus, friendly, table, telemetry, watch, welcome};

/// How long calls under way may take after the daemon was told to go.
const DRAIN: Duration = Duration::from_secs(30);
/// How often servers on this machine are looked for.
const REDISCOVER: Duration = Duration::from_secs(15);
/// Upper edges, in seconds, of the buckets of all durations: from a fast proxy to a slow model.
const BUCKETS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// Runs the daemon until it is told to go.
///
/// # Errors
/// Whatever keeps it from starting, in one sentence.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let tracing = telemetry::start(&settings.telemetry)?;
    let listener = TcpListener::bind(settings.listen).await.map_err(|e| friendly::bind_error(settings.listen, &e))?;
    let origin = settings.origin.clone();
    let home = &origin.home;
    home.prepare()?;
    let key_is_new = home.ensure_key(&origin.env)?;
    let settings = origin.load()?;

    let address = listener.local_addr().context("the system does not say which port was given")?;
    let url = welcome::url(address);
    let metrics = metrics()?;
    let daemon = daemon(settings).await?;
    let leaving = Arc::new(AtomicBool::new(false));
    let started_unix_s = daemon.grid.unix_s();
    let backstage = backstage(&daemon, &metrics, &leaving, (address.to_string(), started_unix_s));
    let body_bytes_max = daemon.state().settings.limits.body_bytes;
    let lobby = Arc::new(Lobby { grid: Arc::clone(&daemon.grid), body_bytes_max, backstage });

    let announcement = home.announce(&url, started_unix_s)?;
    table::print_fleet(&rows(&daemon.grid));
    welcome::print(&url, &daemon.state().settings, key_is_new);
    let chores = tokio::spawn(chores(Arc::clone(&daemon), metrics));
    let keeping = daemon.grid.bus().map(|bus| tokio::spawn(bus::chores(Arc::clone(bus))));
    listen::serve(listener, lobby, until_told_to_go(leaving), DRAIN).await;
    chores.abort();
    if let Some(bus) = daemon.grid.bus() {
        bus.close().await;
    }
    keeping.iter().for_each(JoinHandle::abort);
    drop(announcement);
    drop(tracing);
    Ok(ExitCode::SUCCESS)
}

async fn daemon(settings: Settings) -> anyhow::Result<Arc<Daemon>> {
    let composer = Composer::new(&settings)?;
    let found = composer.discover(&settings).await;
    let generation = composer.compose(&settings, &found).map_err(anyhow::Error::msg)?;
    let bus = bus::open(&settings)?;
    if let Some(bus) = &bus {
        bus::recover(bus).await;
    }
    let grid = Grid::new(generation, world(), settings.limits.calls_max, bus);
    let state = Mutex::new(State { settings, found, generation: 1 });
    Ok(Arc::new(Daemon { composer, grid, state }))
}

/// Chance and the calendar of this machine.
fn world() -> World {
    World {
        new_id: Arc::new(|| CallId(uuid::Uuid::now_v7().to_string().into())),
        unix_s: Arc::new(|| u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()),
    }
}

fn rows(grid: &Grid) -> Vec<table::Row> {
    let row = |glance: admin::Overview| table::Row {
        tier: glance.tier.to_owned(),
        deployment: glance.id,
        place: glance.place,
        law: glance.law,
        state: glance.state,
    };
    let generation = grid.generation();
    let in_auto = generation.fleet.deployments.iter().map(|deployment| deployment.in_auto);
    admin::overview(grid)
        .into_iter()
        .zip(in_auto)
        .filter(|(_, in_auto)| *in_auto)
        .map(|(glance, _)| row(glance))
        .collect()
}

fn metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
    builder.and_then(PrometheusBuilder::install_recorder).context("the counters cannot be set up")
}

fn backstage(
    daemon: &Arc<Daemon>,
    metrics: &PrometheusHandle,
    leaving: &Arc<AtomicBool>,
    (listen, started_unix_s): (String, u64),
) -> Backstage {
    let (metrics, leaving) = (metrics.clone(), Arc::clone(leaving));
    let (reloading, counting) = (Arc::clone(daemon), Arc::clone(daemon));
    let runtime = Handle::current();
    let state = daemon.state();
    let home = &state.settings.origin.home;
    let bus_file = home.bus_file();
    Backstage {
        version: env!("CARGO_PKG_VERSION"),
        started_unix_s,
        listen,
        home: home.dir().display().to_string(),
        key_file: home.key_file().display().to_string(),
        render_metrics: Box::new(move || metrics.render()),
        is_leaving: Box::new(move || leaving.load(Ordering::Relaxed)),
        reload: Arc::new(move || runtime.block_on(reloading.reload())),
        bus_bytes: Box::new(move || bus::bytes(&bus_file)),
        generation: Box::new(move || counting.state().generation),
        carriage: carriage(home),
    }
}

/// Who signs what is taken along, and whose signature is believed: what the home folder says.
fn carriage(home: &Home) -> Arc<Carriage> {
    let (signing, known, trusted) = (home.clone(), home.clone(), home.clone());
    let told = |error: anyhow::Error| format!("{error:#}");
    Carriage::new(
        Box::new(move || signing.ensure_bundle_key().map_err(told)),
        Box::new(move |caller, signer| known.knows_signer(caller, signer).map_err(told)),
        Box::new(move |caller, signer, node| trusted.trust_signer(caller, signer, node).map_err(told)),
    )
}

/// What the daemon does beside answering.
async fn chores(daemon: Arc<Daemon>, metrics: PrometheusHandle) {
    let mut watcher = watch::Watcher::new(&daemon.state().settings);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut rediscover = tokio::time::interval_at(tokio::time::Instant::now() + REDISCOVER, REDISCOVER);
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    loop {
        let changed = tokio::select! {
            _ = second.tick() => {
                metrics.run_upkeep();
                watcher.has_changed()
            }
            _ = rediscover.tick() => {
                daemon.rediscover().await;
                false
            }
            _ = hangup.recv() => true,
        };
        if changed {
            if let Err(problem) = daemon.reload().await {
                tracing::error!(%problem, "the configuration in force stays: the new one cannot be used");
            }
            watcher.follow(&daemon.state().settings);
        }
    }
}

/// Resolves at the first SIGINT or SIGTERM; a second one ends the process at once.
async fn until_told_to_go(leaving: Arc<AtomicBool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    leaving.store(true, Ordering::Relaxed);
    tracing::info!("going down: calls under way may finish, a second signal ends at once");
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}
