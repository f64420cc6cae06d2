// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The Rust back-end of the vhost-user benchmark: one queue, whose chains come back as they are.
//!
//!     vhost-user-rust SOCKET

use std::io::{Error, Result};
use std::sync::{Arc, RwLock};

use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringRwLock, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

const VERSION_1: u64 = 1 << 32;
const PROTOCOL_FEATURES: u64 = 1 << 30;

struct Echo {
    mem: GuestMemoryAtomic<GuestMemoryMmap>,
}

impl VhostUserBackendMut for Echo {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        256
    }

    fn features(&self) -> u64 {
        VERSION_1 | PROTOCOL_FEATURES
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&mut self, _enabled: bool) {}

    fn update_memory(&mut self, mem: GuestMemoryAtomic<GuestMemoryMmap>) -> Result<()> {
        self.mem = mem;
        Ok(())
    }

    fn handle_event(&mut self, event: u16, _set: EventSet, vrings: &[VringRwLock], _thread: usize) -> Result<()> {
        if event != 0 {
            return Ok(());
        }
        let mem = self.mem.memory();
        let vring = &vrings[0];
        loop {
            let chain = vring.get_mut().get_queue_mut().pop_descriptor_chain(mem.clone());
            let Some(chain) = chain else { return Ok(()) };
            vring.add_used(chain.head_index(), 1).map_err(Error::other)?;
            if vring.needs_notification().map_err(Error::other)? {
                vring.signal_used_queue()?;
            }
        }
    }
}

fn main() {
    let socket = std::env::args().nth(1).expect("usage: vhost-user-rust SOCKET");
    let mem = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let echo = Arc::new(RwLock::new(Echo { mem: mem.clone() }));
    let mut daemon = VhostUserDaemon::new("echo".to_string(), echo, mem).expect("daemon");
    // The benchmark ends the process; that the connection ended first is no failure.
    let _ = daemon.serve(socket);
}
