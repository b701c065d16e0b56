//! Messages that keep the fields this program does not know.
//!
//! `prost` drops unknown fields when it decodes a message. A channel's configuration is decoded, changed and
//! encoded again, and a newer Fabric or its users may have written fields that our messages lack. So every
//! message on such a way is [`Lossless`], also within other messages.

use bytes::{Buf, BufMut};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, encode_key, skip_field},
};
use std::ops::{Deref, DerefMut};

/// A message with its unknown fields, which are encoded after the known ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lossless<M> {
    message: M,
    /// Keys and values as they were on the wire.
    unknown: Vec<u8>,
}

impl<M> Lossless<M> {
    /// Other known fields with these unknown ones.
    pub(crate) fn with(&self, message: M) -> Self {
        Self {
            message,
            unknown: self.unknown.clone(),
        }
    }

    /// The unknown fields, encoded.
    pub(crate) fn unknown(&self) -> &[u8] {
        &self.unknown
    }
}

impl<M> From<M> for Lossless<M> {
    fn from(message: M) -> Self {
        Self {
            message,
            unknown: vec![],
        }
    }
}

impl<M> Deref for Lossless<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.message
    }
}

impl<M> DerefMut for Lossless<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.message
    }
}

impl<M: Message + Default> Message for Lossless<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.message.encode_raw(buf);
        buf.put_slice(&self.unknown);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if is_known::<M>(tag) {
            return self.message.merge_field(tag, wire_type, buf, ctx);
        }
        let mut field = Vec::new();
        encode_key(tag, wire_type, &mut field);
        let seen = &mut field;
        skip_field(wire_type, tag, &mut Recorder { buf, seen }, ctx)?;
        self.unknown.append(&mut field);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.message.encoded_len() + self.unknown.len()
    }

    fn clear(&mut self) {
        self.message.clear();
        self.unknown.clear();
    }
}

/// Returns true if a message has a field with this tag. A decoder skips any value of an unknown field, but
/// none of a known field takes both kinds of these values: a field has one wire type, and as a length the
/// first byte exceeds the value.
fn is_known<M: Message + Default>(tag: u32) -> bool {
    let value = [0x7f; 8];
    let skips = |wire_type| {
        M::default()
            .merge_field(tag, wire_type, &mut &value[..], DecodeContext::default())
            .is_ok()
    };
    !(skips(WireType::ThirtyTwoBit) && skips(WireType::SixtyFourBit))
}

/// A buffer that records what is read from it.
struct Recorder<'a, B> {
    buf: &'a mut B,
    seen: &'a mut Vec<u8>,
}

impl<B: Buf> Buf for Recorder<'_, B> {
    fn remaining(&self) -> usize {
        self.buf.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.buf.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.seen.put((&mut *self.buf).take(count));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fabric::proto::{
        common::{Policy, SignaturePolicy},
        configtx::{Capabilities, ConfigGroup, ConfigPolicy, ConfigValue},
        lifecycle::CheckCommitReadinessResult,
    };
    use prost::encoding::encode_varint;

    /// A field that no message of ours has, encoded.
    pub(crate) fn unknown_field() -> Vec<u8> {
        let mut field = Vec::new();
        encode_key(1000, WireType::LengthDelimited, &mut field);
        encode_varint(3, &mut field);
        field.extend(b"new");
        field
    }

    /// Adds the field to a message.
    pub(crate) fn mark<M>(message: &mut Lossless<M>) {
        message.unknown.extend(unknown_field());
    }

    #[test]
    fn unknown_fields_of_every_wire_type_are_kept() {
        let mut bytes = ConfigValue {
            version: 7,
            value: vec![1, 2],
            mod_policy: "Admins".to_owned(),
        }
        .encode_to_vec();
        encode_key(20, WireType::Varint, &mut bytes);
        encode_varint(300, &mut bytes);
        encode_key(21, WireType::SixtyFourBit, &mut bytes);
        bytes.extend([1; 8]);
        encode_key(22, WireType::ThirtyTwoBit, &mut bytes);
        bytes.extend([2; 4]);
        encode_key(23, WireType::StartGroup, &mut bytes);
        bytes.extend(unknown_field());
        encode_key(23, WireType::EndGroup, &mut bytes);
        bytes.extend(unknown_field());
        let mut value = Lossless::<ConfigValue>::decode(&bytes[..]).expect("a message");
        assert_eq!((value.version, &value.mod_policy[..]), (7, "Admins"));
        assert_eq!(
            (value.encode_to_vec(), value.encoded_len()),
            (bytes.clone(), bytes.len())
        );
        // A buffer of several parts.
        let (first, second) = bytes.split_at(bytes.len() - 2);
        assert_eq!(Lossless::decode(first.chain(second)).as_ref(), Ok(&value));
        value.version = 8;
        assert_eq!(value.unknown(), &bytes[bytes.len() - value.unknown().len()..]);
        value.clear();
        assert_eq!(value, Lossless::default());
    }

    #[test]
    fn unknown_fields_within_messages_and_maps_are_kept() {
        let mut policy: Lossless<_> = Policy {
            r#type: 1,
            value: vec![],
        }
        .into();
        mark(&mut policy);
        let mut element: Lossless<_> = ConfigPolicy {
            policy: Some(policy),
            ..ConfigPolicy::default()
        }
        .into();
        mark(&mut element);
        let mut inner: Lossless<_> = ConfigGroup {
            policies: [("Admins".to_owned(), element)].into(),
            ..ConfigGroup::default()
        }
        .into();
        mark(&mut inner);
        let mut root: Lossless<_> = ConfigGroup {
            groups: [("Orderer".to_owned(), inner)].into(),
            ..ConfigGroup::default()
        }
        .into();
        mark(&mut root);
        let bytes = root.encode_to_vec();
        let marks = bytes.windows(3).filter(|window| window == b"new").count();
        assert_eq!(marks, 4);
        let read = Lossless::<ConfigGroup>::decode(&bytes[..]).expect("a message");
        assert_eq!((&read, read.encode_to_vec()), (&root, bytes));
    }

    #[test]
    fn truncated_unknown_fields_are_refused() {
        let bytes = unknown_field();
        for length in 1..bytes.len() {
            assert!(
                Lossless::<ConfigValue>::decode(&bytes[..length]).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn scalars_messages_maps_and_variants_are_known() {
        let known = |is_known: fn(u32) -> bool| (1..20).filter(|tag| is_known(*tag)).collect::<Vec<_>>();
        assert_eq!(known(is_known::<ConfigGroup>), [1, 2, 3, 4, 5]);
        assert_eq!(known(is_known::<ConfigPolicy>), [1, 2, 3]);
        assert_eq!(known(is_known::<SignaturePolicy>), [1, 2]);
        assert_eq!(known(is_known::<Capabilities>), [1]);
        assert_eq!(known(is_known::<CheckCommitReadinessResult>), [1]);
    }
}
