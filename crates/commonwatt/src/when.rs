//! Times as people say them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The present moment, on the clock of this machine.
pub(crate) fn now() -> Zoned {
    Zoned::now()
}

/// A moment as one says it now: `2 min ago`, `14:03`, `yesterday 14:03`, `3 Nov 14:03`, `3 Nov 2025`.
pub(crate) fn told(unix_ms: u64, now: &Zoned) -> String {
    let Some(then) = at(unix_ms, now.time_zone()) else { return "unknown".to_owned() };
    let seconds = now.timestamp().as_second() - then.timestamp().as_second();
    let is_yesterday = now.date().yesterday().is_ok_and(|yesterday| yesterday == then.date());
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        _ if then.date() == now.date() => then.strftime("%H:%M").to_string(),
        _ if is_yesterday => then.strftime("yesterday %H:%M").to_string(),
        _ if then.year() == now.year() => then.strftime("%-d %b %H:%M").to_string(),
        _ => then.strftime("%-d %b %Y").to_string(),
    }
}

/// A moment on the clock, with its day where it is not today's: `14:03`, `3 Nov 14:03`.
pub(crate) fn clock(unix_ms: u64, now: &Zoned) -> String {
    let Some(then) = at(unix_ms, now.time_zone()) else { return "unknown".to_owned() };
    let format = match (then.date() == now.date(), then.year() == now.year()) {
        (true, _) => "%H:%M",
        (false, true) => "%-d %b %H:%M",
        (false, false) => "%-d %b %Y %H:%M",
    };
    then.strftime(format).to_string()
}

/// A day: `3 Nov 2025`.
pub(crate) fn day(unix_ms: u64, now: &Zoned) -> String {
    at(unix_ms, now.time_zone()).map_or_else(|| "unknown".to_owned(), |then| then.strftime("%-d %b %Y").to_string())
}

fn at(unix_ms: u64, zone: &TimeZone) -> Option<Zoned> {
    let timestamp = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(timestamp.to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Zoned {
        text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC)
    }

    #[test]
    fn a_moment_is_said_by_how_far_it_is() {
        let now = moment("2026-11-21T14:30:00Z");
        let said = |text: &str| told(moment(text).timestamp().as_millisecond() as u64, &now);
        assert_eq!(said("2026-11-21T14:29:30Z"), "just now");
        assert_eq!(said("2026-11-21T14:03:00Z"), "27 min ago");
        assert_eq!(said("2026-11-21T09:03:00Z"), "09:03");
        assert_eq!(said("2026-11-20T23:59:00Z"), "yesterday 23:59");
        assert_eq!(said("2026-11-03T14:03:00Z"), "3 Nov 14:03");
        assert_eq!(said("2025-11-03T14:03:00Z"), "3 Nov 2025");
        // The clock of the daemon may be ahead.
        assert_eq!(said("2026-11-21T14:31:00Z"), "14:31");
        assert_eq!(told(u64::MAX, &now), "unknown");
    }

    #[test]
    fn a_clock_shows_the_day_where_it_is_another() {
        let now = moment("2026-11-21T14:30:00Z");
        let shown = |text: &str| clock(moment(text).timestamp().as_millisecond() as u64, &now);
        assert_eq!(shown("2026-11-21T14:29:30Z"), "14:29");
        assert_eq!(shown("2026-11-20T14:03:00Z"), "20 Nov 14:03");
        assert_eq!(shown("2025-11-20T14:03:00Z"), "20 Nov 2025 14:03");
    }
}
