//! Settings: the fields of a policy with their descriptions, for everything that handles all of them alike.

use crate::duration;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// A field of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the configuration file, without the policy's table, such as `repair.backoff.max`.
    pub key: String,
    /// Its description.
    pub description: String,
    /// Its value.
    pub value: Value,
}

/// The value of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The following settings below this key belong to it.
    Group,
    /// A duration.
    Duration(Duration),
    /// A number.
    Count(u32),
}

/// A mutable field of a policy.
pub(crate) enum Slot<'a> {
    Group(&'a mut dyn Group),
    Duration(&'a mut Duration),
    Count(&'a mut u32),
}

/// Called with the name, the description and the slot of a field.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&'static str, &'static str, Slot<'_>);

/// A group of settings.
pub(crate) trait Group {
    /// Visits the fields in their order.
    fn visit(&mut self, visit: Visit<'_>);
}

/// The type of a field.
pub(crate) trait Field: Sized {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    fn slot(&mut self) -> Slot<'_>;
}

impl Field for Duration {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        duration::read(deserializer)
    }

    fn slot(&mut self) -> Slot<'_> {
        Slot::Duration(self)
    }
}

impl Field for u32 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn slot(&mut self) -> Slot<'_> {
        Slot::Count(self)
    }
}

/// Deserializes a field.
pub(crate) fn read<'de, D: Deserializer<'de>, T: Field>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// Visits a group and all groups in it, with the keys of the settings.
pub(crate) fn walk(group: &mut dyn Group, prefix: &str, visit: &mut dyn FnMut(&str, &str, Slot<'_>)) {
    group.visit(&mut |name, description, slot| {
        let key = match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        };
        if let Slot::Group(inner) = slot {
            visit(&key, description, Slot::Group(&mut *inner));
            walk(inner, &key, visit);
        } else {
            visit(&key, description, slot);
        }
    });
}

/// Declares a group of settings: a struct with its default values, and the list of its fields.
macro_rules! group {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $($(#[doc = $description:literal])+ pub $field:ident: $kind:ty = $default:expr,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $description])+
                #[serde(deserialize_with = "crate::setting::read")]
                pub $field: $kind,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl crate::setting::Group for $name {
            fn visit(&mut self, visit: crate::setting::Visit<'_>) {
                $(visit(
                    stringify!($field),
                    concat!($($description, "\n"),+),
                    crate::setting::Field::slot(&mut self.$field),
                );)+
            }
        }

        impl crate::setting::Field for $name {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(deserializer)
            }

            fn slot(&mut self) -> crate::setting::Slot<'_> {
                crate::setting::Slot::Group(self)
            }
        }
    };
}

pub(crate) use group;
