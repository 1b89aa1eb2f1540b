//! What is kept beside a model: its checksum, and where it came from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::HubError;
use super::exchange::sha256;
use super::part::beside;

/// Where a model came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The address it was fetched from.
    pub url: String,
    /// `owner/name`, if it is of a hub.
    pub repository: Option<String>,
    /// The revision that was asked for.
    pub revision: Option<String>,
    /// The commit that the revision stood for.
    pub commit: Option<String>,
    /// The licence, as the repository states it.
    pub licence: Option<String>,
}

/// Writes both beside the model.
pub(super) async fn write(model: &Path, checksum: &str, origin: &Origin) -> Result<(), HubError> {
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    let path = beside(model, "sha256");
    tokio::fs::write(&path, format!("{checksum}  {name}\n")).await.map_err(|error| HubError::disk(&path, error))?;
    let path = beside(model, "origin.json");
    let text = serde_json::to_string_pretty(origin).map_err(|error| HubError::disk(&path, error.into()))?;
    tokio::fs::write(&path, text + "\n").await.map_err(|error| HubError::disk(&path, error))
}

/// The checksum that is kept beside a model, in hexadecimal digits.
#[must_use]
pub fn checksum_of(model: &Path) -> Option<String> {
    let text = std::fs::read_to_string(beside(model, "sha256")).ok()?;
    sha256(text.split_whitespace().next()?)
}

/// Where a model came from, if it was pulled.
#[must_use]
pub fn origin_of(model: &Path) -> Option<Origin> {
    serde_json::from_slice(&std::fs::read(beside(model, "origin.json")).ok()?).ok()
}
