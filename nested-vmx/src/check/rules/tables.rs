// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Descriptor-table registers of the guest (SDM volume 3, section 28.3.1.3).

use super::super::context::Context;
use super::super::failure::Violation;
use super::values::{bits, canonical};
use crate::vmcs::Field;

pub fn base(context: &Context<'_>) -> Option<Violation> {
    let width = context.linear_width;
    canonical(context, Field::GuestGdtrBase, width)
        .or_else(|| canonical(context, Field::GuestIdtrBase, width))
}

pub fn limit(context: &Context<'_>) -> Option<Violation> {
    bits(context, Field::GuestGdtrLimit, 0, 0xffff)
        .or_else(|| bits(context, Field::GuestIdtrLimit, 0, 0xffff))
}
