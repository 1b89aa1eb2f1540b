//! The bus of this daemon: opened before anybody may call, tended while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use commonwatt_core::admission::CallId;
use commonwatt_grid::bus::keep::JOURNAL_EVERY_MS;
use commonwatt_grid::bus::{Bus, BusWorld};
use commonwatt_store::{NodeKey, Options, Store};

use crate::settings::Settings;

/// How often sessions whose time has come are erased.
const EXPIRE: Duration = Duration::from_secs(600);

/// Opens the bus that the settings ask for, if they do.
///
/// # Errors
/// One sentence, when the key or the store cannot be had.
pub(crate) fn open(settings: &Settings) -> anyhow::Result<Option<Arc<Bus>>> {
    let Some(bus) = &settings.bus else { return Ok(None) };
    let home = &settings.origin.home;
    let node_key = match &bus.key_command {
        Some(command) => NodeKey::from_command(command),
        None => NodeKey::from_file(&home.node_key_file()),
    }?;
    let path = home.bus_file();
    let options = Options { path: path.clone(), node_key, clock_ms: Arc::new(unix_ms), bytes_max: 0 };
    let store = Store::open(options)
        .map_err(|error| anyhow!("the sessions in `{}` cannot be opened: {error}", path.display()))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    let world = BusWorld {
        new_id: Arc::new(|| CallId(uuid::Uuid::now_v7().to_string().into())),
        seed,
        handoff_seed: home.handoff_seed()?,
        unix_ms: Arc::new(unix_ms),
        retention: bus.retention.clone(),
    };
    Ok(Some(Bus::new(store, world)))
}

/// Keeps what was half said when the daemon died.
pub(crate) async fn recover(bus: &Bus) {
    match bus.recover().await {
        Ok(0) => {}
        Ok(answers) => tracing::warn!(answers, "answers that were cut by a crash are kept as far as they had come"),
        Err(refusal) => tracing::error!(%refusal.message, "answers that were cut by a crash stay in the journal"),
    }
}

/// What the bus needs done beside the calls.
pub(crate) async fn chores(bus: Arc<Bus>) {
    let mut page = tokio::time::interval(Duration::from_millis(JOURNAL_EVERY_MS));
    let mut expire = tokio::time::interval(EXPIRE);
    loop {
        tokio::select! {
            _ = page.tick() => bus.turn_pages(),
            _ = expire.tick() => match bus.expire().await {
                Ok(expired) if expired.is_empty() => {}
                Ok(expired) => tracing::info!(sessions = expired.len(), "sessions were erased: their time was over"),
                Err(refusal) => tracing::error!(%refusal.message, "sessions whose time is over could not be erased"),
            },
        }
    }
}

/// Bytes of the store's file and of its log, which is moved into it now and then.
pub(crate) fn bytes(file: &Path) -> Option<u64> {
    let length = |path: PathBuf| std::fs::metadata(path).ok().map(|metadata| metadata.len());
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    length(file.into()).map(|bytes| bytes + length(log.into()).unwrap_or_default())
}

fn unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}
