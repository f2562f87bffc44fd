// What the pack's scripts hear is dealt with one thing after the other, also where the server has to be asked about it
// first: nothing overtakes what was heard before it.

let last = Promise.resolve()

// Not to be awaited within another turn. A server that does not answer costs the turn, and not those after it.
export function inTurn(act) {
    last = last.then(act).catch((error) => console.warn("Domain Guidance:", error))
    return last
}
