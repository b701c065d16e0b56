//! The address of a list. It contains filters, sort order and cursor, so that a page can be shared and
//! reloaded.

use crate::{redirect::encoded, request::AuthedRequest};

/// The state of a list page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    path: &'static str,
    query: Vec<(String, String)>,
    next: Option<String>,
}

impl Listing {
    /// The list at this address.
    pub(crate) fn new(request: &AuthedRequest, path: &'static str, filters: &[&str]) -> Self {
        let mut query = Vec::new();
        for name in filters.iter().chain(&["sort", "after"]) {
            if let Some(value) = request.query(name) {
                query.push(((*name).to_owned(), value));
            }
        }
        Self {
            path,
            query,
            next: None,
        }
    }

    /// Sets the cursor of the next page.
    pub(crate) fn with_next(mut self, next: Option<String>) -> Self {
        self.next = next;
        self
    }

    /// The value of a query parameter; empty if not set.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// True if any filter is set.
    pub(crate) fn filtered(&self) -> bool {
        self.query
            .iter()
            .any(|(name, _)| name != "sort" && name != "after")
    }

    /// True if this is not the first page.
    pub(crate) fn past_first_page(&self) -> bool {
        !self.get("after").is_empty()
    }

    /// The sort column, and true if descending.
    pub(crate) fn order(&self) -> (&str, bool) {
        let sort = self.get("sort");
        sort.strip_prefix('-')
            .map_or((sort, false), |column| (column, true))
    }

    /// Sorts the items of a page by the selected column; `key` returns the sort key of a column.
    pub(crate) fn sort<T, K: Ord>(&self, items: &mut [T], key: impl Fn(&T, &str) -> Option<K>) {
        let (column, down) = self.order();
        if column.is_empty() {
            return;
        }
        items.sort_by_key(|item| key(item, column));
        if down {
            items.reverse();
        }
    }

    /// The `aria-sort` value of a column.
    pub(crate) fn aria_sort(&self, column: &str) -> &'static str {
        match self.order() {
            (by, false) if by == column => "ascending",
            (by, true) if by == column => "descending",
            _ => "none",
        }
    }

    /// The address that sorts by a column; the second click reverses the order.
    pub(crate) fn sort_link(&self, column: &str) -> String {
        let value = if self.aria_sort(column) == "ascending" {
            format!("-{column}")
        } else {
            column.to_owned()
        };
        self.with("sort", &value, "after")
    }

    /// The address of the next page.
    pub(crate) fn next_link(&self) -> Option<String> {
        self.next.as_ref().map(|next| self.with("after", next, ""))
    }

    /// The address of the first page.
    pub(crate) fn first_link(&self) -> String {
        self.with("after", "", "")
    }

    fn with(&self, name: &str, value: &str, without: &str) -> String {
        let kept = self.query.iter().filter(|(key, _)| key != name && key != without);
        let mut parts: Vec<String> = kept
            .map(|(key, value)| format!("{key}={}", encoded(value)))
            .collect();
        if !value.is_empty() {
            parts.push(format!("{name}={}", encoded(value)));
        }
        if parts.is_empty() {
            self.path.to_owned()
        } else {
            format!("{}?{}", self.path, parts.join("&"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(query: &[(&str, &str)]) -> Listing {
        Listing {
            path: "/clusters",
            query: query
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            next: None,
        }
    }

    #[test]
    fn the_second_click_on_a_column_reverses_the_order() {
        assert_eq!(
            listing(&[("state", "ready"), ("after", "x")]).sort_link("name"),
            "/clusters?state=ready&sort=name"
        );
        let ordered = listing(&[("sort", "name")]);
        assert_eq!(
            (ordered.sort_link("name").as_str(), ordered.aria_sort("name")),
            ("/clusters?sort=-name", "ascending")
        );
        let mut items = vec![2, 3, 1];
        listing(&[("sort", "-n")]).sort(&mut items, |item, _| Some(*item));
        assert_eq!(items, [3, 2, 1]);
    }

    #[test]
    fn the_next_page_keeps_the_filters() {
        let listing = listing(&[("holder", "a b")]).with_next(Some("k+1".into()));
        assert_eq!(
            listing.next_link().as_deref(),
            Some("/clusters?holder=a%20b&after=k%2B1")
        );
        assert_eq!(listing.first_link(), "/clusters?holder=a%20b");
    }
}
