// What the last runs showed at a workflow's nodes, pictures and sentences, stands there again when the page is loaded
// anew, and when it is connected again. The server's history has the outputs, and what nodes said is kept beside it
// (nodes/comfy_host/said.py). A node gets back only what a run of the same workflow gave it: one with the same id, in
// which the node and all that leads to it are wired as here.

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"
import { tellAnew } from "./node_messages.js"
import { SUBGRAPH_INPUT } from "./promoted.js"
import { isFromAnother } from "./prompts.js"
import { MESSAGES, read } from "./server.js"
import { inTurn } from "./turns.js"

const OWN = "DomainGuidance"
const RUNS = 16 // of the history, the newest

// The newest first: {id, extra, workflow, running, outputs by node, ran: whether a node was computed in it}
async function readRuns() {
    const [queue, history] = await Promise.all([read("/queue"), read(`/history?max_items=${RUNS}`)])
    const running = (queue.queue_running ?? []).map(([, id, , extra]) => ({
        id, extra, workflow: extra?.extra_pnginfo?.workflow, running: true, outputs: {}, ran: () => false,
    }))
    const done = Object.entries(history).map(([id, { prompt: [, , prompt, extra], outputs, status }]) => ({
        id, extra, workflow: extra?.extra_pnginfo?.workflow, outputs,
        ran: computed(prompt, Object.fromEntries(status?.messages ?? [])),
    }))
    return [...running, ...done.reverse()].filter(({ workflow }) => workflow)
}

let runs = null // a promise of them, as they were read last: every undo loads the graph anew, and a history is large
api.addEventListener("status", () => { runs = null }) // the server's queue has changed, or the connection is lost

function knownRuns() {
    runs ??= readRuns().catch((error) => {
        runs = null
        throw error
    })
    return runs
}

function computed(prompt, told) {
    const ended = told.execution_error ?? told.execution_interrupted
    const reached = new Set(ended ? [...ended.executed, ended.node_id] : Object.keys(prompt))
    for (const node of told.execution_cached?.nodes ?? []) reached.delete(node)
    return (node) => reached.has(node)
}

// Every node by its id in a prompt, 12:5 for node 5 in the subgraph 12: its type, and [input, node, output] of what
// comes in.
function wiring(workflow) {
    const subgraphs = new Map((workflow.definitions?.subgraphs ?? []).map((subgraph) => [subgraph.id, subgraph]))
    const found = new Map()
    function enter({ nodes, links }, outer) {
        const idOf = (id) => (id === SUBGRAPH_INPUT ? outer : outer ? `${outer}:${id}` : String(id))
        const arriving = new Map(nodes.map((node) => [node.id, []]))
        for (const link of links ?? []) {
            const [origin, output, target, slot] = Array.isArray(link) ? link.slice(1)
                : [link.origin_id, link.origin_slot, link.target_id, link.target_slot]
            arriving.get(target)?.push([slot, idOf(origin), output])
        }
        for (const node of nodes) {
            const inputs = arriving.get(node.id).map(([slot, ...from]) => [node.inputs?.[slot]?.name, ...from])
            found.set(idOf(node.id), { type: node.type, inputs: inputs.sort() })
            if (subgraphs.has(node.type)) enter(subgraphs.get(node.type), idOf(node.id))
        }
    }
    enter(workflow, "")
    return found
}

// A node and all that leads to it. The wires between subgraphs may go round in a circle, which the host allows: what is
// within them does not.
function upstream(nodes, id) {
    const found = new Set([id])
    for (const each of found) for (const [, origin] of nodes.get(each)?.inputs ?? []) found.add(origin)
    return [...found]
}

// Whether a node, and all that leads to it, is in both.
function agreement(here, there) {
    const known = new Map()
    const same = (id) => {
        const [one, other] = [here.get(id), there.get(id)]
        return Boolean(one && other) && one.type === other.type
            && JSON.stringify(one.inputs) === JSON.stringify(other.inputs)
    }
    return (id) => {
        if (!known.has(id)) known.set(id, upstream(here, id).every(same))
        return known.get(id)
    }
}

function restoreMessages(nodes, runs, said) {
    for (const node of nodes) {
        const saidIn = (id) => said[id]?.[node] ?? []
        // What was said before is out of date.
        const run = runs.find(({ id, agrees, ran }) => agrees(node) && (saidIn(id).length || ran(node)))
        if (run) tellAnew(node, saidIn(run.id))
    }
}

// As the frontend does it for a workflow that comes back to the front. The page's own outputs may be newer than those
// of the runs that have ended, unless it has missed an end.
function restoreOutputs(nodes, runs, tracker, missed) {
    tracker.store()
    const found = {}
    for (const node of nodes) {
        const run = runs.find(({ agrees, outputs }) => outputs[node] && agrees(node))
        if (run) found[node] = run.outputs[node]
    }
    const shown = tracker.nodeOutputs
    tracker.nodeOutputs = missed ? { ...shown, ...found } : { ...found, ...shown }
    if (!Object.keys(found).length) return
    tracker.restore()
    app.canvas.setDirty(true, true)
}

let loads = 0
let open = null // paths of the workflows that were open when one was loaded last

// The workflow that is being loaded, once the frontend has made it the active one; none if another one came meanwhile.
async function loadedWorkflow() {
    const load = ++loads
    while (load === loads) {
        const { activeWorkflow } = app.extensionManager.workflow
        const tracker = activeWorkflow?.changeTracker
        if (tracker && !tracker.constructor.isLoadingGraph) return activeWorkflow
        await new Promise((resolve) => setTimeout(resolve, 20))
    }
}

async function restoreFrom(workflow, load, again) {
    if (load !== loads) return // another workflow was loaded meanwhile
    const here = (app.rootGraph ?? app.graph).serialize()
    const nodes = wiring(here)
    if (![...nodes.values()].some(({ type }) => type.startsWith(OWN))) return
    const [runs, said] = await Promise.all([knownRuns(), read(MESSAGES)])
    if (load !== loads) return
    const matching = runs
        .filter(({ id, extra, workflow: { id: its } }) => its === here.id && !isFromAnother(id, extra, workflow))
        .map((run) => ({ ...run, agrees: agreement(nodes, wiring(run.workflow)) }))
    const missed = again && !runs.some(({ running }) => running)
    restoreOutputs(nodes.keys(), matching, workflow.changeTracker, missed)
    restoreMessages(nodes.keys(), matching, said)
}

// again: after the connection was lost, when what has been shown may be out of date
async function restore(again) {
    const workflow = await loadedWorkflow()
    if (!workflow) return
    const load = loads
    const fresh = open !== null && !open.has(workflow.path) // opened by its user, not found again
    open = new Set(app.extensionManager.workflow.openWorkflows.map(({ path }) => path))
    // In a turn: what is said meanwhile is newer than what the server answers.
    if (again || !fresh) await inTurn(() => restoreFrom(workflow, load, again))
}

app.registerExtension({
    name: "DomainGuidance.LastResults",
    setup() {
        api.addEventListener("reconnected", () => restore(true))
    },
    afterConfigureGraph() {
        restore(false) // not awaited: the graph is shown meanwhile
    },
})
