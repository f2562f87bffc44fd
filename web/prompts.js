// Which workflow a prompt belongs to. Of a prompt that this page queued, it is the one that was open then: two open
// workflows have the same id where one was opened again as another file. Of any other, it is the one with its id.

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"
import { read } from "./server.js"
import { inTurn } from "./turns.js"

const LOST = 60_000 // milliseconds, after which a request has failed: no event tells of that
const origins = new Map() // prompt -> the open workflow that this page queued it from
const asking = new Map() // request -> the workflow that it was made in, until its prompts are known
const known = new Map() // prompt -> a promise of what the server knows of it

const openWorkflow = () => app.extensionManager.workflow.activeWorkflow
const isMine = (extra) => extra?.client_id !== undefined && extra.client_id === api.clientId

api.addEventListener("promptQueueing", ({ detail: { requestId } }) => {
    asking.set(requestId, openWorkflow())
    setTimeout(() => asking.delete(requestId), LOST)
})
api.addEventListener("promptQueued", ({ detail: { requestId, batchCount } }) => {
    const workflow = asking.get(requestId) ?? openWorkflow()
    inTurn(async () => {
        try {
            for (const prompt of await newest(batchCount)) origins.set(prompt, workflow)
        } finally {
            asking.delete(requestId)
        }
    })
})

// The prompts that this page queued last, which no event names.
async function newest(count) {
    const { queue_running: now = [], queue_pending: next = [] } = await read("/queue")
    const done = Object.values(await read(`/history?max_items=${count}`)).map(({ prompt }) => prompt)
    const mine = [...now, ...next, ...done].filter(([, id, , extra]) => isMine(extra) && !origins.has(id))
    mine.sort(([one], [other]) => Math.abs(other) - Math.abs(one)) // negative: it was put before the others
    return [...new Set(mine.map(([, id]) => id))].slice(0, count)
}

async function readPrompt(prompt) {
    const { queue_running: now = [] } = await read("/queue")
    const found = now.find(([, id]) => id === prompt) ?? (await read(`/history/${prompt}`))[prompt]?.prompt
    return found?.[3]
}

// Whether this page queued a prompt from another open workflow. The server may start one before it answers the request.
export function isFromAnother(prompt, extra, workflow) {
    const origin = origins.get(prompt) ?? (isMine(extra) ? [...asking.values()].at(-1) : undefined)
    return origin !== undefined && origin !== workflow
}

// Whether the workflow on the canvas is the prompt's; also where nobody can tell.
export async function isHere(prompt) {
    if (!prompt) return true
    // A server that did not answer is asked again with the next message.
    if (!known.has(prompt)) known.set(prompt, readPrompt(prompt).catch(() => void known.delete(prompt)))
    const extra = await known.get(prompt)
    if (isFromAnother(prompt, extra, openWorkflow())) return false
    const id = extra?.extra_pnginfo?.workflow?.id
    return !id || id === (app.rootGraph ?? app.graph).id
}
