//! Which address a Service gets (design §5), without giving it: the one that it names, else the lowest free one of the pools that it names, else of the pools for
//! its namespace, of the default pool, of all that are for everybody; each by priority, then name. A refusal is a value that says what to do.

use super::{
    Allocation, Book, Family, Held, Holding, IpAddr, Known, PoolName, Protocol, Refusal, Request, Reserved, ServiceKey, reason, sharing,
};

/// What a Service wants one address of: a family, or any.
pub(super) type Slot = Option<Family>;

/// Of what a Service wants one address each, in its order.
pub(super) fn slots(request: &Request) -> Vec<Slot> {
    if !request.families.is_empty() {
        request.families.iter().copied().map(Some).collect()
    } else if request.addresses.is_empty() {
        vec![None]
    } else {
        request.addresses.iter().map(|(family, _)| Some(family)).collect()
    }
}

/// Whether a Service holds what it asks for in a slot.
pub(super) fn fills(holding: &Holding, request: &Request, slot: Slot) -> bool {
    let is_wanted = |(family, held): (Family, &Held)| match request.addresses.get(family) {
        Some(address) => *address == held.address,
        None => request.pools.is_empty() || request.pools.contains(&held.pool),
    };
    match slot {
        Some(family) => holding.get(family).is_some_and(|held| is_wanted((family, held))),
        None => holding.iter().any(is_wanted),
    }
}

/// Why a request can be met by no pool whatever.
pub(super) fn precluded(request: &Request) -> Option<Refusal> {
    if let Some(Protocol::Other(protocol)) = &request.protocol {
        let message =
            format!("protocol `{protocol}` is not served: Bellhop announces by layer2 only; change or remove the protocol annotation");
        return Some(refuse(reason::PROTOCOL_MISMATCH, message));
    }
    if let Some(what) = &request.invalid_address {
        return Some(refuse(reason::INVALID_ADDRESS, what.clone()));
    }
    let unwanted = |(family, _): &(Family, &IpAddr)| !request.families.is_empty() && !request.families.contains(family);
    let (family, address) = request.addresses.iter().find(unwanted)?;
    Some(family_mismatch(&format!("{address} is {family}"), request))
}

impl Allocation {
    /// What fills the slots of a Service that are not filled, and why the first that stays open does.
    pub(super) fn choose(&self, service: &ServiceKey, request: &Request, known: Known<'_>) -> (Vec<Held>, Option<Refusal>) {
        let holding = self.held(service);
        let mut chosen: Vec<Held> = Vec::new();
        let mut refused: Option<(Slot, Refusal)> = None;
        let (filled, open): (Vec<Slot>, Vec<Slot>) = slots(request).into_iter().partition(|slot| fills(holding, request, *slot));
        for slot in open {
            match self.choose_one(service, request, slot, known) {
                Ok(held) => chosen.push(held),
                Err(refusal) => _ = refused.get_or_insert((slot, refusal)),
            }
        }
        let several = request.families.len() > 1;
        let has_another = !filled.is_empty() || !chosen.is_empty();
        let refusal = refused.map(|(slot, refusal)| match slot {
            Some(family) if several && request.all_families => {
                chosen.clear();
                family_missing(family, &refusal)
            }
            Some(family) if several => Refusal {
                optional: has_another && request.addresses.get(family).is_none(),
                message: format!("no {family} address: {}", refusal.message),
                ..refusal
            },
            _ => refusal,
        });
        (chosen, refusal)
    }

    fn choose_one(&self, service: &ServiceKey, request: &Request, slot: Slot, known: Known<'_>) -> Result<Held, Refusal> {
        if let Some(address) = slot.and_then(|family| request.addresses.get(family)) {
            self.choose_named(service, *address, request, known)
        } else if request.pools.is_empty() {
            self.choose_any(service, slot, known)
        } else {
            self.choose_of_named_pools(service, request, slot)
        }
    }

    fn choose_named(&self, service: &ServiceKey, address: IpAddr, request: &Request, known: Known<'_>) -> Result<Held, Refusal> {
        let pool = self.pool_for_named(address, request)?;
        let book = self.open_book(&pool)?;
        if !book.ledger.addresses().contains(address) {
            let message = format!("{address} is not one of Eip {pool}'s addresses ({})", book.ledger.addresses());
            return Err(refuse(reason::ADDRESS_OUTSIDE_POOL, message));
        }
        if let Some(owner) = self.reserved.get(&address) {
            let reason = if matches!(owner, Reserved::Node(_)) { reason::ADDRESS_OF_NODE } else { reason::ADDRESS_RESERVED };
            return Err(refuse(reason, format!("{address} is {owner}: choose another")));
        }
        for holder in self.users(address).iter().filter(|user| *user != service) {
            let same_pool = self.held(holder).values().any(|held| held.address == address && held.pool == pool);
            let other = known.request(holder).filter(|_| same_pool);
            let rule = other.map_or(Some(sharing::Rule::NoKey), |other| sharing::keeps_from_sharing(request, other));
            if let Some(rule) = rule {
                let reason = if request.sharing_key.is_some() { reason::SHARING_REFUSED } else { reason::ADDRESS_TAKEN };
                let what = format!("{address} belongs to Service {holder}: choose another, or free it there. To share it: {rule}");
                return Err(refuse(reason, what));
            }
        }
        if book.has_room_for(service, address) { Ok(Held { pool, address }) } else { Err(record_full(&pool)) }
    }

    /// The pool that a named address is taken of: one that is named and has it, else the one of those who share it, else whichever has it.
    fn pool_for_named(&self, address: IpAddr, request: &Request) -> Result<PoolName, Refusal> {
        let has = |name: &&PoolName| self.books.get(*name).is_some_and(|book| book.ledger.addresses().contains(address));
        if let Some(first) = request.pools.first() {
            return Ok(request.pools.iter().find(has).unwrap_or(first).clone());
        }
        let of_holders = self.users(address).iter().find_map(|user| Some(&self.held(user).get(Family::of(address))?.pool));
        let found = of_holders.filter(has).cloned().or_else(|| self.pool_of(address));
        let message = || format!("no Eip holds {address}: choose an address of an Eip, or make one that holds it");
        found.ok_or_else(|| refuse(reason::ADDRESS_OUTSIDE_POOL, message()))
    }

    /// The lowest free address of the pools that a Service names, in the order written.
    fn choose_of_named_pools(&self, service: &ServiceKey, request: &Request, slot: Slot) -> Result<Held, Refusal> {
        let mut refusal: Option<Refusal> = None;
        for name in &request.pools {
            let why = match self.open_book(name) {
                Ok(book) if slot.is_some_and(|family| family != book.ledger.addresses().family()) => {
                    // Of several, another is for this family.
                    let other = format!("Eip {name} holds addresses of {}", book.ledger.addresses().family());
                    refusal.get_or_insert_with(|| family_mismatch(&other, request));
                    continue;
                }
                Ok(book) => match book.offers(service) {
                    Some(address) => return Ok(Held { pool: name.clone(), address }),
                    None if !book.ledger.is_exhausted() => record_full(name),
                    None => refuse(
                        reason::POOL_EXHAUSTED,
                        format!("every address of Eip {name} is in use: enlarge it, or delete a Service that uses it"),
                    ),
                },
                Err(why) => why,
            };
            if refusal.as_ref().is_none_or(|before| before.reason == reason::FAMILY_MISMATCH) {
                refusal = Some(why);
            }
        }
        Err(refusal.unwrap_or_else(|| refuse(reason::UNKNOWN_EIP, "no Eip is named".to_owned())))
    }

    /// The lowest free address of the pools that are for a Service which names none.
    fn choose_any(&self, service: &ServiceKey, slot: Slot, known: Known<'_>) -> Result<Held, Refusal> {
        let mut offering: Vec<(u8, i64, &PoolName, &Book)> = Vec::new();
        let fits = |book: &Book| book.offer.closed.is_none() && slot.is_none_or(|family| family == book.ledger.addresses().family());
        for (name, book) in self.books.iter().filter(|(_, book)| fits(book)) {
            let tier = match &book.offer.binding {
                Some(binding) => match known.namespaces.admits(binding, &service.namespace) {
                    Some(true) => 0,
                    Some(false) => continue,
                    None => return Err(namespaces_unknown(name)),
                },
                None if book.offer.is_default => 1,
                None => 2,
            };
            offering.push((tier, book.offer.priority, name, book));
        }
        offering.sort_by_key(|(tier, priority, name, _)| (*tier, *priority, *name));
        for (_, _, name, book) in &offering {
            if let Some(address) = book.offers(service) {
                return Ok(Held { pool: (*name).clone(), address });
            }
        }
        if !offering.is_empty() {
            let message = "every address of every matching Eip is in use: enlarge one, or add another".to_owned();
            return Err(refuse(reason::POOL_EXHAUSTED, message));
        }
        let family = slot.map(|family| format!(" {family}")).unwrap_or_default();
        let message = format!(
            "no usable layer2 Eip with{family} addresses is for namespace {}: create one, or see `kubectl get eip` for why those there are not ready",
            service.namespace
        );
        Err(refuse(reason::NO_MATCHING_EIP, message))
    }

    fn open_book(&self, name: &PoolName) -> Result<&Book, Refusal> {
        let unknown = || refuse(reason::UNKNOWN_EIP, format!("there is no Eip {name}: create it, or name another (`kubectl get eip`)"));
        let unusable = |why: &String| refuse(reason::EIP_NOT_USABLE, format!("Eip {name} hands out no address: {why}"));
        let book = self.books.get(name).ok_or_else(|| self.unusable.get(name).map_or_else(unknown, unusable))?;
        book.offer.closed.as_ref().map_or(Ok(book), |why| Err(unusable(why)))
    }
}

fn refuse(reason: &'static str, message: String) -> Refusal {
    Refusal { reason, message, optional: false }
}

fn record_full(pool: &PoolName) -> Refusal {
    refuse(reason::EIP_NOT_USABLE, format!("the record of Eip {pool} (status.used) is as large as Kubernetes takes: use another Eip"))
}

fn family_mismatch(what: &str, request: &Request) -> Refusal {
    let wanted: Vec<String> = request.families.iter().map(ToString::to_string).collect();
    let message = format!("{what}, and the Service asks for {}: name another, or change spec.ipFamilies", wanted.join(" and "));
    refuse(reason::FAMILY_MISMATCH, message)
}

fn family_missing(family: Family, why: &Refusal) -> Refusal {
    let message = format!(
        "no {family} address ({}): {}. ipFamilyPolicy RequireDualStack takes both families or none",
        why.reason,
        why.message.trim_end_matches('.')
    );
    refuse(reason::FAMILY_MISSING, message)
}

fn namespaces_unknown(pool: &PoolName) -> Refusal {
    let message = format!(
        "Eip {pool} has a namespaceSelector and the labels of namespaces are not known: let Bellhop list and watch namespaces, or name an Eip"
    );
    refuse(reason::NAMESPACES_UNKNOWN, message)
}
