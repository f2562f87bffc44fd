// What the last runs showed at a workflow's nodes, pictures and sentences, stands there again when the page is loaded
// anew, and when it is connected again. The server's history has the outputs, and what nodes said is kept beside it
// (nodes/comfy_host/said.py). A node gets back only what a run of the same workflow gave it: one with the same id, in
// which the node and all that leads to it are wired as here.

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"
import { tellAnew } from "./node_messages.js"
import { SUBGRAPH_INPUT } from "./promoted.js"
import { isFromAnother, isHere } from "./prompts.js"
import { MESSAGES, read } from "./server.js"
import { inTurn } from "./turns.js"

const OWN = "DomainGuidance"
const RUNS = 16 // of the history, the newest

// The newest first: {id, graph: what the API was sent, extra, workflow, running, outputs by node, ran: whether a node
// was computed in it, reached: whether it was computed or cached; neither is known of a run that goes on}
async function readRuns() {
    const queue = await read("/queue") // first: a run that ends meanwhile is in both, not in neither
    const history = await read(`/history?max_items=${RUNS}`)
    const running = (queue.queue_running ?? []).map(([, id, graph, extra]) => ({
        id, graph, extra, workflow: extra?.extra_pnginfo?.workflow, running: true, outputs: {},
        ran: () => false, reached: () => false,
    }))
    const done = Object.entries(history).map(([id, { prompt: [, , graph, extra], outputs, status }]) => ({
        id, graph, extra, workflow: extra?.extra_pnginfo?.workflow, outputs,
        ...extent(graph, Object.fromEntries(status?.messages ?? [])),
    }))
    return [...running, ...done.reverse()]
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

function extent(graph, told) {
    const ended = told.execution_error ?? told.execution_interrupted
    const passed = new Set(ended ? [...ended.executed, ended.node_id] : Object.keys(graph))
    const cached = new Set(told.execution_cached?.nodes)
    const ran = (node) => passed.has(node) && !cached.has(node)
    return { ran, reached: (node) => passed.has(node) || cached.has(node) }
}

// The inputs of a node and of all that leads to it. Where they are the same, so is what the host has cached.
function inputsOf(graph, id) {
    const found = new Set([id])
    for (const each of found) {
        for (const input of Object.values(graph[each]?.inputs ?? {})) {
            if (Array.isArray(input) && input[0] in graph) found.add(input[0])
        }
    }
    return JSON.stringify([...found].map((each) => [each, graph[each]?.class_type, graph[each]?.inputs]))
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

// What stands at a node after a run: what it said in that run, or, where its output was cached, in the newest run
// before it with the same inputs. all: every known run, the newest first. Undefined if what stands there still holds,
// though the run that said it is no longer known.
function standing(node, run, all, said) {
    const saidIn = ({ id }) => said[id]?.[node] ?? []
    if (run.ran(node) || saidIn(run).length) return saidIn(run)
    const inputs = inputsOf(run.graph, node)
    const same = ({ graph }) => inputsOf(graph, node) === inputs
    const before = all.slice(all.findIndex(({ id }) => id === run.id) + 1)
    const computed = before.find((other) => other.ran(node) && same(other))
    if (computed) return saidIn(computed)
    const last = before.find(({ reached }) => reached(node))
    return last && same(last) ? undefined : []
}

// matching: of all runs those of this workflow.
function restoreMessages(nodes, matching, all, said) {
    for (const node of nodes) {
        // What was said before is out of date.
        const run = matching.find(({ id, agrees, reached }) => {
            return agrees(node) && (said[id]?.[node]?.length || reached(node))
        })
        const found = run && standing(node, run, all, said)
        if (found) tellAnew(node, found)
    }
}

// The host tells which nodes it will not compute: what stands at them is of the run before, maybe with other inputs.
async function tellCached({ nodes, prompt_id: prompt }) {
    const said = await read(MESSAGES)
    const spoken = nodes.filter((node) => Object.values(said).some((of) => of[node]))
    if (!spoken.length) return
    const all = await knownRuns()
    const run = all.find(({ id }) => id === prompt)
    if (!run || !(await isHere(prompt))) return // asked last: another workflow may have come to the front meanwhile
    for (const node of spoken) {
        const found = standing(node, run, all, said)
        if (found) tellAnew(node, found)
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
    const [all, said] = await Promise.all([knownRuns(), read(MESSAGES)])
    if (load !== loads) return
    const matching = all
        .filter((run) => run.workflow && run.workflow.id === here.id && !isFromAnother(run.id, run.extra, workflow))
        .map((run) => ({ ...run, agrees: agreement(nodes, wiring(run.workflow)) }))
    const missed = again && !all.some(({ running }) => running)
    restoreOutputs(nodes.keys(), matching, workflow.changeTracker, missed)
    restoreMessages(nodes.keys(), matching, all, said)
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
        api.addEventListener("execution_cached", ({ detail }) => inTurn(() => tellCached(detail)))
    },
    afterConfigureGraph() {
        restore(false) // not awaited: the graph is shown meanwhile
    },
})
