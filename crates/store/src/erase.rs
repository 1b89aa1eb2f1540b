//! Forgetting a session: its key, and everything under it. The graph's shape stays, so that a record that names a turn
//! still names something.

use commonwatt_core::turn::SessionId;

use crate::Store;
use crate::commit::NUMBER_MAX;
use crate::error::StoreError;
use crate::sessions::Held;
use crate::writer::Desk;
use crate::{blobs, handoffs, journals};

/// Sessions that one [`Store::expire`] erases: ask again until none is told.
pub const EXPIRE_MAX: usize = 1_000;

impl Store {
    /// Erases a session: its key, salt, title, name, bodies, links, responses, journals, derived values and blobs are
    /// gone from the file and its log when this returns (from the log a little later if a backup is being made). Ids, parents, parties, states and times stay. Erasing twice is
    /// as good as once. Only copies made before know more: see [`Store::backup`].
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`] or the disk's.
    pub async fn erase(&self, session: &SessionId) -> Result<(), StoreError> {
        self.erase_one(session.clone()).await?;
        self.empty_the_log().await
    }

    /// Erases the sessions whose time was over at `now_ms`, and tells which; at most [`EXPIRE_MAX`].
    ///
    /// # Errors
    /// The disk's; some may be erased then.
    pub async fn expire(&self, now_ms: u64) -> Result<Vec<SessionId>, StoreError> {
        let due = self.read(move |view| {
            let mut rows = view.db.prepare_cached(
                "SELECT id FROM sessions WHERE expires_ms <= ?1 AND erased_ms IS NULL ORDER BY expires_ms LIMIT ?2",
            )?;
            let rows = rows.query_map((now_ms.min(NUMBER_MAX), EXPIRE_MAX as u64), |row| row.get::<_, String>(0))?;
            Ok(rows.map(|id| id.map(|id| SessionId(id.into()))).collect::<Result<Vec<_>, _>>()?)
        });
        let due = due.await?;
        for session in &due {
            self.erase_one(session.clone()).await?;
        }
        if !due.is_empty() {
            self.empty_the_log().await?;
        }
        Ok(due)
    }

    async fn erase_one(&self, session: SessionId) -> Result<(), StoreError> {
        self.write(0, move |desk| erase(desk, &Held::get(desk.db, &session)?)).await
    }
}

fn erase(desk: &Desk<'_>, held: &Held) -> Result<(), StoreError> {
    if held.is_erased() {
        return Ok(());
    }
    blobs::erase(desk, held)?;
    journals::erase(desk.db, held.row)?;
    handoffs::erase(desk, held.row)?;
    for sql in [
        "UPDATE turns SET body = NULL, meta = NULL, by = NULL, model = NULL WHERE session = ?1",
        "DELETE FROM links WHERE session = ?1",
        "DELETE FROM responses WHERE session = ?1",
        "DELETE FROM derived WHERE session = ?1",
    ] {
        desk.db.prepare_cached(sql)?.execute([held.row])?;
    }
    desk.db
        .prepare_cached(
            "UPDATE sessions SET key = NULL, salt = NULL, title = NULL, name = NULL, erased_ms = ?2, updated_ms = ?2 \
             WHERE row = ?1",
        )?
        .execute((held.row, desk.now_ms))?;
    Ok(())
}
