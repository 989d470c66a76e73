//! What a request for sessions or clients asks for: which, in which order, which rows. Read whole, or refused.

use std::cmp::Ordering;

use percent_encoding::percent_decode_str;

use super::sessions::STATES;

/// Rows in an answer, unless fewer are asked for.
const ROWS_MAX: usize = 500;
const ROWS_DEFAULT: usize = 50;

/// The most rows that can be left out: more than there can ever be.
const OFFSET_MAX: usize = u32::MAX as usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionOrder {
    Name,
    State,
    Clients,
    Ring,
    Memory,
    Lag,
    Failures,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientOrder {
    Id,
    Peer,
    Connected,
    Bytes,
    Lag,
}

/// Which rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    is_descending: bool,
    pub(super) offset: usize,
    limit: usize,
}

/// Which sessions, in which order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SessionQuery {
    pub(super) order: SessionOrder,
    /// A part of the name, in lower case.
    pub(super) filter: String,
    pub(super) state: Option<&'static str>,
    pub(super) page: Page,
}

/// Which clients of a session, in which order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientQuery {
    pub(super) order: ClientOrder,
    pub(super) page: Page,
}

impl SessionQuery {
    /// From a request's query.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut wanted = Self {
            order: SessionOrder::Clients,
            filter: String::new(),
            state: None,
            page: Page { is_descending: true, offset: 0, limit: ROWS_DEFAULT },
        };
        for (name, value) in parameters(query) {
            match name.as_str() {
                "sort" => {
                    wanted.order = match value.as_str() {
                        "name" => SessionOrder::Name,
                        "state" => SessionOrder::State,
                        "clients" => SessionOrder::Clients,
                        "ring" => SessionOrder::Ring,
                        "log_bytes" => SessionOrder::Memory,
                        "lag" => SessionOrder::Lag,
                        "failures" => SessionOrder::Failures,
                        _ => return Err(format!("sort '{value}': see /api/openapi.json")),
                    }
                }
                "filter" => wanted.filter = value.to_lowercase(),
                "state" => {
                    let known = STATES.into_iter().find(|state| *state == value);
                    wanted.state = Some(
                        known.ok_or_else(|| format!("state '{value}': expected {}", STATES.join(", ")))?,
                    );
                }
                _ => wanted.page.parse(&name, &value)?,
            }
        }
        Ok(wanted)
    }
}

impl ClientQuery {
    /// From a request's query.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let page = Page { is_descending: true, offset: 0, limit: ROWS_DEFAULT };
        let mut wanted = Self { order: ClientOrder::Lag, page };
        for (name, value) in parameters(query) {
            match name.as_str() {
                "sort" => {
                    wanted.order = match value.as_str() {
                        "id" => ClientOrder::Id,
                        "peer" => ClientOrder::Peer,
                        "connected" => ClientOrder::Connected,
                        "bytes" => ClientOrder::Bytes,
                        "lag" => ClientOrder::Lag,
                        _ => return Err(format!("sort '{value}': see /api/openapi.json")),
                    }
                }
                _ => wanted.page.parse(&name, &value)?,
            }
        }
        Ok(wanted)
    }
}

impl Page {
    fn parse(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = |max| {
            let number = value.parse::<usize>().ok().filter(|number| *number <= max);
            number.ok_or_else(|| format!("{name} '{value}': expected a number, {max} at most"))
        };
        match (name, value) {
            ("order", "asc") => self.is_descending = false,
            ("order", "desc") => self.is_descending = true,
            ("order", _) => return Err(format!("order '{value}': expected asc or desc")),
            ("offset", _) => self.offset = number(OFFSET_MAX)?,
            ("limit", _) => self.limit = number(ROWS_MAX)?,
            _ => return Err(format!("{name}: no such parameter; see /api/openapi.json")),
        }
        Ok(())
    }

    /// Sorts, ties by `tie`, and gives the rows of the page.
    pub(super) fn of<T>(
        &self,
        rows: &mut Vec<T>,
        compare: impl Fn(&T, &T) -> Ordering,
        tie: impl Fn(&T, &T) -> Ordering,
    ) {
        rows.sort_unstable_by(|left, right| {
            let order = compare(left, right);
            let order = if self.is_descending { order.reverse() } else { order };
            order.then_with(|| tie(left, right))
        });
        rows.drain(..self.offset.min(rows.len()));
        rows.truncate(self.limit);
    }
}

fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query.split('&').filter(|parameter| !parameter.is_empty()).map(move |parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (decoded(name), decoded(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_whole_or_refused() {
        let query =
            SessionQuery::parse("sort=lag&order=asc&filter=%2FV1+x&limit=500&offset=7&state=live").unwrap();
        assert_eq!(query.filter, "/v1 x");
        assert_eq!(query.state, Some("live"));
        assert_eq!(query.page, Page { is_descending: false, offset: 7, limit: ROWS_MAX });
        for wrong in ["sort=x", "order=up", "limit=-1", "offset=a", "what=1", "limit=501", "state=away"] {
            assert!(SessionQuery::parse(wrong).is_err(), "{wrong}");
            assert!(ClientQuery::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_cut_out_of_what_was_sorted() {
        let mut rows = vec![(1, 'a'), (3, 'b'), (2, 'c'), (3, 'a')];
        let page = Page { is_descending: true, offset: 1, limit: 2 };
        page.of(&mut rows, |left, right| left.0.cmp(&right.0), |left, right| left.1.cmp(&right.1));
        assert_eq!(rows, [(3, 'b'), (2, 'c')]);
        page.of(&mut rows, |left, right| left.cmp(right), |left, right| left.cmp(right));
        assert_eq!(rows, [(2, 'c')]);
    }
}
