//! Cluster labels, stored so that a filter needs one comparison per label.

use std::collections::BTreeMap;

/// Labels in the form `,key=value,key=value,`. Keys and values hold neither comma nor equals sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// Returns the stored form.
    pub fn to_column(&self) -> String {
        let mut text = String::from(",");
        for (key, value) in &self.0 {
            text.push_str(&pair(key, value));
            text.push(',');
        }
        text
    }

    /// Parses the stored form.
    pub fn from_column(text: &str) -> Self {
        Self(
            text.split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// Returns the substrings that the stored labels of a matching cluster contain.
    pub fn needles(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(key, value)| format!(",{},", pair(key, value)))
            .collect()
    }

    /// Returns `true` for a valid key or value: 1 to 63 of a-z, A-Z, 0-9, `-`, `_`, `.`, `/`.
    pub fn is_valid(text: &str) -> bool {
        (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
    }
}

fn pair(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn labels_read_back_as_written(map in proptest::collection::btree_map("[a-z./_-]{1,8}", "[A-Za-z0-9]{1,8}", 0..5)) {
            let labels = Labels(map);
            let column = labels.to_column();
            prop_assert!(labels.needles().iter().all(|needle| column.contains(needle)));
            prop_assert_eq!(Labels::from_column(&column), labels);
        }
    }
}
