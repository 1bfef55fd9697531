//! The words that users read: reasons of conditions and of Events.
//!
//! Each is one CamelCase word that scripts and people grep for, in one place. What to say besides is decided where the state is.

/// Reasons of conditions.
pub mod reason {
    /// The address is assigned.
    pub const ASSIGNED: &str = "Assigned";
    /// No pool is there that this Service could draw from.
    pub const NO_MATCHING_EIP: &str = "NoMatchingEip";
    /// The Service names a pool that does not exist.
    pub const UNKNOWN_EIP: &str = "UnknownEip";
    /// The pool that the Service names cannot hand anything out: invalid, conflicting, disabled, being deleted.
    pub const EIP_NOT_USABLE: &str = "EipNotUsable";
    /// Every address of every matching pool is in use.
    pub const POOL_EXHAUSTED: &str = "PoolExhausted";
    /// The address asked for belongs to another Service.
    pub const ADDRESS_TAKEN: &str = "AddressTaken";
    /// The address asked for is a node's own.
    pub const ADDRESS_OF_NODE: &str = "AddressOfNode";
    /// The address asked for is a gateway's, or Bellhop's own.
    pub const ADDRESS_RESERVED: &str = "AddressReserved";
    /// The address asked for belongs to another Service, and a rule for sharing it is broken.
    pub const SHARING_REFUSED: &str = "SharingRefused";
    /// One family has no address, and the Service takes both or none.
    pub const FAMILY_MISSING: &str = "FamilyMissing";
    /// A pool selects namespaces by labels, and these could not be read.
    pub const NAMESPACES_UNKNOWN: &str = "NamespacesUnknown";
    /// The address asked for is in no matching pool.
    pub const ADDRESS_OUTSIDE_POOL: &str = "AddressOutsidePool";
    /// What was asked for is no address.
    pub const INVALID_ADDRESS: &str = "InvalidAddress";
    /// The Service's IP family is not the pool's or the address's.
    pub const FAMILY_MISMATCH: &str = "FamilyMismatch";
    /// The protocol is not layer2.
    pub const PROTOCOL_MISMATCH: &str = "ProtocolMismatch";
    /// The address is decided and waits to be recorded in the pool.
    pub const RECORDING: &str = "Recording";

    /// The address is answered for.
    pub const ANNOUNCED: &str = "Announced";
    /// There is no address to announce yet.
    pub const NO_ADDRESS: &str = "NoAddress";
    /// Nothing would answer behind the address.
    pub const NO_READY_ENDPOINT: &str = "NoReadyEndpoint";
    /// No node may carry the address.
    pub const NO_ELIGIBLE_NODE: &str = "NoEligibleNode";
    /// The chosen node has no address on the pool's NIC's subnet.
    pub const NO_NODE_ADDRESS: &str = "NoNodeAddress";
    /// The chosen node has not answered for its own address yet.
    pub const NODE_MAC_UNKNOWN: &str = "NodeMacUnknown";
    /// The pool of the address is gone; it is kept for a pool that holds it.
    pub const EIP_GONE: &str = "EipGone";

    /// The pool hands out addresses.
    pub const READY: &str = "Ready";
    /// The pool hands out addresses, and its record is about to be too large for Kubernetes.
    pub const RECORD_NEARLY_FULL: &str = "RecordNearlyFull";
    /// The pool's `spec.interface` is no selector.
    pub const INVALID_INTERFACE: &str = "InvalidInterface";
    /// The pool overlaps an older one.
    pub const CONFLICTING: &str = "Conflicting";
    /// The pool is disabled.
    pub const DISABLED: &str = "Disabled";
    /// The pool waits for its users before it goes.
    pub const DELETING: &str = "Deleting";
    /// No NIC serves the pool.
    pub const INTERFACE_NOT_FOUND: &str = "InterfaceNotFound";
    /// The NIC is there and cannot be used.
    pub const INTERFACE_NOT_USABLE: &str = "InterfaceNotUsable";
}

/// Reasons of Events.
pub mod event {
    /// A Service got its address.
    pub const IP_ALLOCATED: &str = "IPAllocated";
    /// A Service could not get an address.
    pub const ALLOCATION_FAILED: &str = "AllocationFailed";
    /// A Service gave its address back.
    pub const IP_RELEASED: &str = "IPReleased";
    /// A node was chosen for an address.
    pub const NODE_ASSIGNED: &str = "NodeAssigned";
    /// Another node was chosen for an address.
    pub const NODE_CHANGED: &str = "NodeChanged";
    /// No node can carry an address.
    pub const NO_ELIGIBLE_NODE: &str = "NoEligibleNode";
    /// An Eip cannot be used as it is written.
    pub const EIP_INVALID: &str = "EipInvalid";
    /// An Eip overlaps an older one.
    pub const EIP_CONFLICTING: &str = "EipConflicting";
    /// An Eip is being deleted and still in use.
    pub const EIP_IN_USE: &str = "EipInUse";
    /// The record of an Eip nears what Kubernetes takes.
    pub const EIP_RECORD_LARGE: &str = "EipRecordLarge";
    /// The API refuses to take what Bellhop has to write.
    pub const WRITE_REFUSED: &str = "WriteRefused";
    /// No NIC serves an Eip.
    pub const INTERFACE_UNAVAILABLE: &str = "InterfaceUnavailable";
}
