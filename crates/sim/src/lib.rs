//! Oracle, operation generator and crash enumeration.
