// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which interrupt the processor gets, and when: a vector's upper four bits are its class, and only
//! a class above that of all that is in service, and above the task's, interrupts.

use super::LocalApic;

/// The class of a vector or a priority.
fn class(priority: u8) -> u8 {
    priority >> 4
}

impl LocalApic {
    /// CR8: the task's class.
    pub fn cr8(&self) -> u64 {
        u64::from(class(self.task_priority))
    }

    /// Writes CR8. Bits above its four have been refused by the processor.
    pub fn set_cr8(&mut self, value: u64) {
        let [low, ..] = value.to_le_bytes();
        self.task_priority = low << 4;
    }

    /// The vector that the processor would get if it acknowledged now.
    pub fn pending(&self) -> Option<u8> {
        self.requested.highest().filter(|&vector| {
            self.base.is_enabled()
                && self.is_software_enabled()
                && class(vector) > class(self.processor_priority())
        })
    }

    /// The processor has taken an interrupt that was [`pending`](Self::pending).
    pub fn acknowledge(&mut self, vector: u8) {
        if self.requested.contains(vector) {
            self.requested.set(vector, false);
            self.in_service.set(vector, true);
        }
    }

    /// The end of the highest interrupt in service.
    pub(super) fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.in_service.take_highest()
            && self.level_triggered.contains(vector)
        {
            self.ended.set(vector, true);
        }
    }

    /// The processor priority register.
    pub(super) fn processor_priority(&self) -> u8 {
        let in_service = self.in_service.highest().unwrap_or(0);
        if class(self.task_priority) >= class(in_service) {
            self.task_priority
        } else {
            class(in_service) << 4
        }
    }

    /// The arbitration priority register.
    pub(super) fn arbitration_priority(&self) -> u8 {
        let in_service = class(self.in_service.highest().unwrap_or(0));
        let requested = class(self.requested.highest().unwrap_or(0));
        let task = class(self.task_priority);
        if task >= requested && task > in_service {
            self.task_priority
        } else {
            task.max(requested).max(in_service) << 4
        }
    }
}
