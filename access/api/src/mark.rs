//! Marks of rows, nodes and edges.

use crate::text_enum::text_enum;

text_enum! {
    /// Assessment of one row, node or edge, for an icon or a colour. A later value is more severe.
    Mark {
        /// No assessment: the fact has none, or it was not observed.
        None = "none",
        /// As expected.
        Ok = "ok",
        /// Not as expected; transactions commit.
        Attention = "attention",
        /// Not available, or keeps transactions from committing.
        Problem = "problem",
    }
}
