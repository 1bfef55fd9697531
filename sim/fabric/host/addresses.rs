//! Addresses that a machine takes onto a NIC and gives up while it runs, as `ip address add` and `del` do. They do not survive its power.

use std::net::Ipv4Addr;

use bellhop_core::link::InterfaceAddress;

use super::{Host, in_subnet};

impl Host {
    /// Takes an address onto the first NIC on whose subnet it is. Nobody is asked whether it is free (the kernel does not probe, RFC 5227 or not) and
    /// nobody told (arp_notify is 0 by default). The NIC; `None` if there is none or the address is its own already.
    pub(crate) fn claim(&mut self, address: Ipv4Addr) -> Option<usize> {
        if self.is_local(address) {
            return None;
        }
        let holds = |(own, length): &&(Ipv4Addr, u8)| in_subnet(*own, *length, address);
        let (index, length) =
            self.nics.iter().enumerate().find_map(|(index, nic)| nic.subnets.iter().find(holds).map(|(_, length)| (index, *length)))?;
        let nic = &mut self.nics[index];
        nic.subnets.push((address, length));
        nic.config.addresses.push(InterfaceAddress { address: address.into(), prefix_length: length });
        Some(index)
    }

    /// Gives up an address that it had taken: not one of those it was made with. The NIC it was on.
    pub(crate) fn release(&mut self, address: Ipv4Addr) -> Option<usize> {
        let made_with = |index: usize| self.config.nics[index].addresses.iter().any(|own| own.address == address);
        let index =
            (0..self.nics.len()).find(|index| !made_with(*index) && self.nics[*index].subnets.iter().any(|(own, _)| *own == address))?;
        let nic = &mut self.nics[index];
        nic.subnets.retain(|(own, _)| *own != address);
        nic.config.addresses.retain(|own| own.address != address);
        Some(index)
    }

    /// The first NIC on whose subnet an address is.
    pub(crate) fn nic_towards(&self, address: Ipv4Addr) -> Option<usize> {
        self.nics.iter().position(|nic| nic.address_towards(address).is_some())
    }

    /// The first address of a NIC.
    pub(crate) fn address_of(&self, nic: usize) -> Option<Ipv4Addr> {
        self.nics.get(nic)?.subnets.first().map(|(address, _)| *address)
    }

    /// Gives up all that it had taken.
    pub(super) fn release_all(&mut self) {
        let taken: Vec<_> = self.nics.iter().flat_map(|nic| nic.subnets.iter().map(|(own, _)| *own)).collect();
        taken.into_iter().for_each(|address| {
            self.release(address);
        });
        let taken: Vec<_> = self.nics.iter().flat_map(|nic| nic.ip6.owned()).collect();
        taken.into_iter().filter(|address| !address.is_unicast_link_local()).for_each(|address| {
            self.release6(address);
        });
    }
}
