// What the pack's nodes say while they work stands at them, and at the subgraphs that hold them, each sentence whole,
// the newest first, until they run again. A message is {prompt, node, slot, text}: a slot holds one sentence, and an
// empty text removes it (nodes/comfy_host/node_text.py). Another workflow has nodes with the same ids: what a prompt's
// nodes say stands in its own.

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"
import { isHere } from "./prompts.js"
import { MESSAGES, NODE_MESSAGE, read } from "./server.js"
import { inTurn } from "./turns.js"

const WIDGET = "domain_guidance_message"
const LEAST = 56 // pixels, before the text is laid out
const AROUND = 34 // pixels between a widget's place and its text: the frontend's margin and this box's padding
const MOST = 260 // pixels; what is longer is scrolled

const shown = new WeakMap() // node -> its sentences by the id of who says them and slot, the oldest first
const boxes = new WeakMap() // node -> its element, one for good: Nodes 2.0 goes on showing the first that it was given

// A node within subgraphs has an id for each: 12:5 is node 5 in what node 12 holds. Both of them, the outer one first.
function nodesOf(id) {
    const found = []
    let graph = app.rootGraph ?? app.graph
    for (const part of String(id).split(":")) {
        const node = graph?.getNodeById(Number(part)) ?? graph?.getNodeById(part)
        if (!node) return []
        found.push(node)
        graph = node.subgraph
    }
    return found
}

function newBox() {
    const box = document.createElement("div")
    box.setAttribute("role", "status")
    box.style.cssText = "overflow-y: auto; overflow-wrap: anywhere; box-sizing: border-box; padding: 6px 8px; " +
        "border-radius: 6px; font-size: 12px; line-height: 1.4; user-select: text; " +
        "color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222);"
    box.append(document.createElement("div"))
    return box
}

function addBox(node) {
    if (!boxes.has(node)) boxes.set(node, newBox())
    const box = boxes.get(node)
    const height = () => Math.min(MOST, Math.max(LEAST, box.firstChild.offsetHeight + AROUND))
    // The type is one of our own: what the frontend knows a type of, Nodes 2.0 draws by itself, without the element.
    const widget = node.addDOMWidget(WIDGET, WIDGET, box, {
        serialize: false,
        hideOnZoom: false,
        getMinHeight: height,
        getMaxHeight: height,
    })
    widget.serialize = false
    return widget
}

const boxOf = (node) => node.widgets?.find((widget) => widget.name === WIDGET)

function draw(node) {
    const sentences = [...(shown.get(node)?.values() ?? [])].reverse()
    if (!sentences.length) return remove(node)
    const box = boxOf(node) ?? addBox(node)
    const lines = sentences.map((sentence) => {
        const line = document.createElement("div")
        line.textContent = sentence
        line.style.marginBottom = "4px"
        return line
    })
    box.element.firstChild.replaceChildren(...lines)
    fit(node)
    requestAnimationFrame(() => fit(node)) // once the text has its width, its height is known
}

// The node grows where its text needs room; what the user has made larger stays.
function fit(node) {
    const [, least] = node.computeSize()
    if (node.size[1] < least) node.setSize([node.size[0], least])
    node.setDirtyCanvas?.(true, true)
}

function remove(node) {
    shown.delete(node)
    const place = node.widgets?.indexOf(boxOf(node)) ?? -1
    if (place < 0) return
    const height = boxOf(node).computedHeight ?? 0
    if (node.removeWidget) node.removeWidget(node.widgets[place])
    else {
        node.widgets[place].onRemove?.()
        node.widgets.splice(place, 1)
    }
    node.setSize([node.size[0], Math.max(node.computeSize()[1], node.size[1] - height)])
    node.setDirtyCanvas?.(true, true)
}

function change(id, act) {
    for (const node of nodesOf(id)) {
        const sentences = shown.get(node) ?? new Map()
        act(sentences)
        shown.set(node, sentences)
        draw(node)
    }
}

function put(sentences, id, slot, text) {
    sentences.delete(`${id} ${slot}`) // the newest last
    if (text) sentences.set(`${id} ${slot}`, text)
}

function clear(sentences, id) {
    for (const key of [...sentences.keys()]) if (key.startsWith(`${id} `)) sentences.delete(key)
}

// What a node said, [slot, text] each, in the place of all that stands there of it; in a turn (turns.js).
export function tellAnew(id, said) {
    change(id, (sentences) => {
        clear(sentences, id)
        for (const [slot, text] of said) put(sentences, id, slot, text)
    })
}

let now = {} // {prompt, node} that the server works on, as far as this page has heard

async function runningPrompt() {
    const { queue_running: [entry] = [] } = await read("/queue")
    return entry?.[1]
}

// A page that is loaded or connected while a prompt runs is told of its node once more, without the prompt: what that
// prompt's node has said stands.
async function begin(node) {
    const unheard = now.prompt === undefined
    const prompt = now.prompt ?? (await runningPrompt())
    const again = prompt === now.prompt && node === now.node
    now = { prompt, node }
    if (prompt === undefined || again || !(await isHere(prompt))) return
    if (unheard && (await read(MESSAGES))[prompt]?.[node]) return
    tellAnew(node, [])
}

async function hear({ prompt, node, slot, text }) {
    if (prompt && prompt !== now.prompt) now = { prompt }
    if (await isHere(prompt)) change(node, (sentences) => put(sentences, node, slot, text))
}

app.registerExtension({
    name: "DomainGuidance.NodeMessages",
    setup() {
        api.addEventListener("execution_start", ({ detail }) => inTurn(() => { now = { prompt: detail.prompt_id } }))
        api.addEventListener("executing", ({ detail }) => {
            const node = detail?.node ?? detail
            if (node != null) inTurn(() => begin(node))
        })
        api.addEventListener("reconnected", () => inTurn(() => { now = {} }))
        api.addEventListener(NODE_MESSAGE, ({ detail }) => inTurn(() => hear(detail)))
    },
})
